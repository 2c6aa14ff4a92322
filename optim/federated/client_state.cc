#include "laconic/optim/federated/client_state.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "fmt/format.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

std::vector<std::span<float>> ViewsOf(std::vector<float>& values, size_t vectors, size_t elements) {
  std::vector<std::span<float>> views;
  for (size_t v = 0; v < vectors; ++v) views.push_back(std::span(values).subspan(v * elements, elements));
  return views;
}

std::string RunName(uint64_t run) { return fmt::format("{:016x}", run); }

std::string Describe(const ClientState::Taken& taken) {
  return fmt::format("round {}'s update {:016x}", taken.round, taken.digest);
}

}  // namespace

ClientState::ClientState(const Options& options)
    : options_(options),
      path_(fmt::format("{}/client-{}.safetensors", options.folder, options.client)),
      pending_path_(fmt::format("{}/client-{}.pending.safetensors", options.folder, options.client)),
      values_(options.vectors * options.elements),
      shadow_(values_.size()),
      views_(ViewsOf(values_, options.vectors, options.elements)),
      shadow_views_(ViewsOf(shadow_, options.vectors, options.elements)) {}

absl::StatusOr<ClientState> ClientState::Open(const Options& options, const std::optional<Taken>& taken) {
  ClientState state(options);
  if (options.vectors == 0) return state;
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) return absl::NotFoundError(fmt::format("{}: {}", options.folder, error.message()));
  LACONIC_ASSIGN_OR_RETURN(state.lock_,
                           FileLock::Take(fmt::format("{}/client-{}.lock", options.folder, options.client)));

  LACONIC_ASSIGN_OR_RETURN(std::optional<Stored> stored, state.Read(state.path_));
  LACONIC_ASSIGN_OR_RETURN(std::optional<Stored> pending, state.Read(state.pending_path_));
  if (pending.has_value()) {
    if (taken == pending->taken) {
      LACONIC_RETURN_IF_ERROR(state.Keep());
      stored = std::move(pending);
    } else {
      LACONIC_RETURN_IF_ERROR(state.Drop());
    }
  }
  if (stored.has_value() != taken.has_value() || (taken.has_value() && stored->taken != *taken)) {
    return state.Lost(fmt::format("the server has taken {} of it, and here is {}",
                                  taken.has_value() ? Describe(*taken) : "nothing",
                                  stored.has_value() ? "what " + Describe(stored->taken) + " left" : "nothing"));
  }
  if (stored.has_value()) std::copy(stored->values.begin(), stored->values.end(), state.values_.begin());
  return state;
}

absl::StatusOr<std::optional<ClientState::Stored>> ClientState::Read(const std::string& path) const {
  absl::StatusOr<StateArchive> archive = ReadStateFile(path);
  if (absl::IsNotFound(archive.status())) return std::nullopt;
  if (!archive.ok()) return archive.status();
  const StateReader in(&*archive);
  Stored stored;
  stored.values.resize(values_.size());
  auto read = [&]() -> absl::Status {
    LACONIC_ASSIGN_OR_RETURN(const std::string run, in.Text("run"));
    if (run != RunName(options_.run)) {
      return Lost(fmt::format("it belongs to run {}, not {}", run, RunName(options_.run)));
    }
    LACONIC_ASSIGN_OR_RETURN(stored.taken.round, in.U64("round"));
    LACONIC_ASSIGN_OR_RETURN(stored.taken.digest, in.U64("digest"));
    return in.Floats("vectors", std::span(stored.values));
  };
  LACONIC_RETURN_IF_ERROR(Annotate(read(), path));
  return stored;
}

absl::Status ClientState::Lost(const std::string& what) const {
  return absl::FailedPreconditionError(
      fmt::format("state of client {} in {}: {}. Give it the folder it wrote, or begin a new run", options_.client,
                  options_.folder, what));
}

absl::Status ClientState::Prepare(const Taken& next,
                                  const std::function<void(std::span<const std::span<float>>)>& commit) {
  if (options_.vectors == 0) return absl::OkStatus();
  std::copy(values_.begin(), values_.end(), shadow_.begin());
  commit(shadow_views_);
  StateArchive archive;
  StateWriter out(&archive);
  out.Text("run", RunName(options_.run));
  out.U64("round", next.round);
  out.U64("digest", next.digest);
  out.Floats("vectors", shadow_);
  return WriteStateFile(pending_path_, archive);
}

absl::Status ClientState::Keep() {
  if (options_.vectors == 0) return absl::OkStatus();
  std::error_code error;
  std::filesystem::rename(pending_path_, path_, error);
  if (error) return absl::InternalError(fmt::format("rename {} to {}: {}", pending_path_, path_, error.message()));
  std::copy(shadow_.begin(), shadow_.end(), values_.begin());
  return absl::OkStatus();
}

absl::Status ClientState::Drop() {
  if (options_.vectors == 0) return absl::OkStatus();
  std::error_code error;
  std::filesystem::remove(pending_path_, error);
  if (error) return absl::InternalError(fmt::format("remove {}: {}", pending_path_, error.message()));
  return absl::OkStatus();
}

}  // namespace laconic
