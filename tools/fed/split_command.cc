// `laconic fed split`: every client's samples in a folder of its own.
#include <filesystem>
#include <memory>

#include "examples/nn/part_files.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "tools/fed/fed.h"
#include "tools/fed/problem.h"

namespace laconic::tools {
namespace {

constexpr uint32_t kMaxParts = 10'000;

struct SplitFlags {
  RunDescription description;
  std::string output;
};

absl::Status MakeFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? absl::UnavailableError(fmt::format("cannot make {}: {}", path, error.message())) : absl::OkStatus();
}

absl::StatusOr<Answer> WriteParts(const SplitFlags& flags) {
  RunDescription description = flags.description;
  description.sample = 1;  // nothing is sampled here
  if (description.clients > kMaxParts) {
    return absl::InvalidArgumentError(fmt::format("--clients {}: at most {} folders", description.clients, kMaxParts));
  }
  LACONIC_ASSIGN_OR_RETURN(const auto problem, FederatedProblem::Load(description));
  size_t samples = 0;
  for (uint32_t client = 0; client < description.clients; ++client) {
    const std::string folder = fmt::format("{}/part-{}", flags.output, client);
    LACONIC_RETURN_IF_ERROR(MakeFolder(folder));
    LACONIC_RETURN_IF_ERROR(nn::WritePart(folder, problem->clients(), client));
    samples += problem->clients().samples(client);
  }
  LACONIC_RETURN_IF_ERROR(MakeFolder(flags.output + "/test"));
  LACONIC_RETURN_IF_ERROR(nn::WriteTestPart(flags.output + "/test", problem->test()));
  fmt::print("{0}/part-0 to {0}/part-{1}: {2} samples; {0}/test: {3}\n", flags.output, description.clients - 1, samples,
             problem->test().size());
  return Answer::kYes;
}

}  // namespace

Command AddFedSplit(CLI::App& fed) {
  CLI::App* split = fed.add_subcommand("split", "Write each client's samples into a folder of its own");
  split->footer(
      "part-<i>/samples.safetensors holds exactly the numbers that a simulation of the whole computes with: --data "
      "parts/part-3 of another process gives client 3 the same bits.\n\n"
      "  laconic fed split --data fashion-mnist --split shards=2 --clients 8 -o parts");
  auto flags = std::make_shared<SplitFlags>();
  flags->description.clients = 8;
  constexpr std::string_view kUnused[] = {"sample",      "method", "compress",   "down",      "min-elements",
                                          "local-steps", "batch",  "lr",         "server-lr", "server-optimizer",
                                          "seed",        "rounds", "eval-every", "model"};
  AddDescriptionOptions(*split, flags->description, kUnused);
  split->add_option("-o,--output", flags->output, "The folder to write")->required();
  return {split, [flags] { return WriteParts(*flags); }};
}

}  // namespace laconic::tools
