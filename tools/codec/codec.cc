// `laconic codec encode | decode | eval`: a codec on tensors in files.
#include <cstdio>
#include <memory>

#include "fmt/format.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "laconic/compressors/payload.h"
#include "nlohmann/json.hpp"
#include "tools/codec/evaluate.h"
#include "tools/command.h"
#include "tools/specs.h"
#include "tools/table.h"
#include "tools/tensor_file.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

constexpr uint64_t kMaxElements = uint64_t{1} << 32;  // that decode believes a payload without --shape

struct Raw {
  std::string spec, output, shape;
  std::vector<std::string> specs, inputs;
  EvaluateOptions evaluate;
  bool json = false;
};

// Reads a tensor, tells on stderr what was converted, and gives it the shape asked for.
absl::StatusOr<TensorFile> ReadInput(const std::string& path, const std::string& shape_text) {
  LACONIC_ASSIGN_OR_RETURN(TensorFile file, ReadTensorFile(path));
  if (!file.notice.empty()) fmt::print(stderr, "{}: {}\n", path, file.notice);
  LACONIC_ASSIGN_OR_RETURN(file.shape, ShapeOr(shape_text, file.values.size(), file.shape));
  return file;
}

absl::StatusOr<Answer> Encode(const Raw& raw) {
  LACONIC_ASSIGN_OR_RETURN(const Pipeline pipeline, ParsePipeline(raw.spec));
  LACONIC_ASSIGN_OR_RETURN(const TensorFile file, ReadInput(raw.inputs.front(), raw.shape));
  const Compressor& codec = *pipeline.codec;
  LACONIC_RETURN_IF_ERROR(codec.Supports(file.shape));
  std::vector<std::byte> frame(kPayloadHeaderBytes + codec.MaxBodyBytes(file.shape));
  LACONIC_ASSIGN_OR_RETURN(const size_t body_bytes,
                           codec.Encode(file.values, file.shape, RngKey{.seed = raw.evaluate.seed},
                                        std::span(frame).subspan(kPayloadHeaderBytes)));
  frame.resize(SealPayload({.codec = codec.id(), .elements = file.values.size()}, body_bytes, frame));
  LACONIC_RETURN_IF_ERROR(WriteFileAtomically(raw.output, frame));
  fmt::print("{}: {} bytes, {} elements {} by {}, {:.3g} bits an element, {:.1f} times smaller\n", raw.output,
             frame.size(), file.values.size(), file.shape.ToString(), codec.ToString(),
             8.0 * static_cast<double>(body_bytes) / static_cast<double>(file.values.size()),
             static_cast<double>(file.values.size() * sizeof(float)) / static_cast<double>(frame.size()));
  return Answer::kYes;
}

absl::StatusOr<Answer> Decode(const Raw& raw) {
  LACONIC_ASSIGN_OR_RETURN(const Pipeline pipeline, ParsePipeline(raw.spec));
  const Compressor& codec = *pipeline.codec;
  const std::string& input = raw.inputs.front();
  LACONIC_ASSIGN_OR_RETURN(const std::vector<std::byte> frame, ReadFile(input));
  // The header says how many elements there are; OpenPayload checks the rest of it.
  constexpr size_t kElementsOffset = 24;
  ByteReader reader(frame);
  reader.Take(kElementsOffset);
  const auto elements = reader.Get<uint64_t>();
  if (!reader.ok()) {
    return absl::DataLossError(
        fmt::format("{}: {} bytes are no payload, whose header takes {}", input, frame.size(), kPayloadHeaderBytes));
  }
  if (raw.shape.empty() && elements > kMaxElements) {
    return absl::DataLossError(
        fmt::format("{}: claims {} elements, limit {} without --shape", input, elements, kMaxElements));
  }
  LACONIC_ASSIGN_OR_RETURN(const Shape shape, ShapeOr(raw.shape, elements, Shape::Flat(elements)));
  LACONIC_RETURN_IF_ERROR(codec.Supports(shape));
  const absl::StatusOr<std::span<const std::byte>> body =
      OpenPayload(frame, {.codec = codec.id(), .elements = elements}, codec.MaxBodyBytes(shape), input, 0);
  if (!body.ok()) return body.status();
  std::vector<float> values(elements);
  LACONIC_RETURN_IF_ERROR(Annotate(codec.DecodeAdd(*body, shape, 1.0f, values), input));
  LACONIC_RETURN_IF_ERROR(WriteTensorFile(raw.output, shape, values));
  fmt::print("{}: {} elements {}\n", raw.output, elements, shape.ToString());
  return Answer::kYes;
}

std::string Number(std::optional<double> value) { return value ? fmt::format("{:.4g}", *value) : "-"; }

absl::StatusOr<Answer> Eval(const Raw& raw) {
  const std::vector<Column> columns = {{"input", "", 0, true},
                                       {"spec", "", 0, true},
                                       {"elements", ""},
                                       {"wire", "(B)"},
                                       {"bits", "/element"},
                                       {"ratio", "(x)"},
                                       {"error", "|x-C|/|x|"},
                                       {"delta", "promised"},
                                       {"delta", "measured"},
                                       {"omega", "promised"},
                                       {"omega", "measured"},
                                       {"kept", ""},
                                       {"error", fmt::format("{} rounds", raw.evaluate.rounds)},
                                       {"owed", "|e|/|x|"}};
  std::vector<std::vector<std::string>> cells;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  bool kept = true;
  LACONIC_ASSIGN_OR_RETURN(const std::vector<AskedPipeline> asked, ParsePipelines(raw.specs));
  for (const std::string& input : raw.inputs) {
    LACONIC_ASSIGN_OR_RETURN(const TensorFile file, ReadInput(input, raw.shape));
    for (const auto& [spec, pipeline] : asked) {
      const absl::StatusOr<Evaluation> e = Evaluate(pipeline, file.shape, file.values, raw.evaluate);
      if (!e.ok()) return Annotate(e.status(), fmt::format("\"{}\" on {}", spec, input));
      kept = kept && e->kept;
      const double ratio = 4.0 * static_cast<double>(file.values.size()) / e->wire_bytes;
      cells.push_back({input, spec, fmt::to_string(file.values.size()), fmt::format("{:.0f}", e->wire_bytes),
                       fmt::format("{:.3g}", e->bits_per_element), fmt::format("{:.1f}", ratio),
                       fmt::format("{:.4g}", e->error), Number(e->promised.delta), Number(e->measured_delta),
                       Number(e->promised.omega), Number(e->measured_omega), e->kept ? "yes" : "NO",
                       fmt::format("{:.4g}", e->error_after_rounds), fmt::format("{:.4g}", e->owed)});
      nlohmann::ordered_json row = {{"input", input},
                                    {"spec", spec},
                                    {"pipeline", pipeline.ToString()},
                                    {"elements", file.values.size()},
                                    {"wire_bytes", e->wire_bytes},
                                    {"bits_per_element", e->bits_per_element},
                                    {"error", e->error},
                                    {"kept", e->kept},
                                    {"rounds", raw.evaluate.rounds},
                                    {"error_after_rounds", e->error_after_rounds},
                                    {"owed", e->owed}};
      if (e->promised.delta) row["delta_promised"] = *e->promised.delta, row["delta_measured"] = *e->measured_delta;
      if (e->promised.omega) row["omega_promised"] = *e->promised.omega, row["omega_measured"] = *e->measured_omega;
      rows.push_back(std::move(row));
    }
  }
  fmt::print("{}", raw.json ? rows.dump(1) + "\n" : FormatTable(columns, cells));
  return kept ? Answer::kYes : Answer::kNo;
}

void AddShape(CLI::App* app, Raw& raw) {
  app->add_option("--shape", raw.shape, "The tensor's shape, as 4096x1024 [.npy: its own; else a vector]");
}

}  // namespace

Command AddCodec(CLI::App& app) {
  auto raw = std::make_shared<Raw>();
  CLI::App* codec = app.add_subcommand("codec", "Encode, decode and evaluate tensors in files");
  codec->require_subcommand(1);
  codec->footer(
      "Files are raw little-endian float32, or .npy (float32; float64 and float16 are converted) by their "
      "extension.\n\n"
      "Examples:\n"
      "  laconic codec eval --spec \"topk(ratio=0.01)+ef,sign+ef,quantize(bits=4)+ef\" --input grads.npy --rounds 100\n"
      "  laconic codec encode --spec \"topk(ratio=0.01)\" --input grads.npy --output grads.lacn\n"
      "  laconic codec decode --spec \"topk(ratio=0.01)\" --input grads.lacn --output back.npy\n\n"
      "Exit status: 0, 1 if eval found a promise broken, 2 for bad usage or input.");

  CLI::App* encode = codec->add_subcommand("encode", "A tensor to a payload (docs/payload-format.md)");
  CLI::App* decode = codec->add_subcommand("decode", "A payload back to a tensor");
  for (CLI::App* one : {encode, decode}) {
    one->add_option("--spec", raw->spec, "The codec; error control and strategy have no say here")->required();
    one->add_option("--input", raw->inputs, "File to read")->required()->expected(1);
    one->add_option("--output", raw->output, "File to write")->required();
    AddShape(one, *raw);
  }
  encode->footer("  laconic codec encode --spec sign --input grads.f32 --output grads.lacn");
  decode->footer("  laconic codec decode --spec sign --input grads.lacn --output back.npy");
  encode->add_option("--seed", raw->evaluate.seed, "Of random codecs")->capture_default_str();

  CLI::App* eval = codec->add_subcommand("eval", "Bytes, errors, and promises held against what is measured");
  eval->footer(
      "With --rounds R every round brings the same gradient x under the spec's error control; error after R rounds is "
      "that of\n"
      "the mean direction, and owed is the error still kept: what compensation repays, and what it costs.\n\n"
      "  laconic codec eval --spec \"topk(ratio=0.01)+none,topk(ratio=0.01)+ef\" --input grads.f32 --rounds 100");
  eval->add_option("--spec", raw->specs, "Specs, separated by commas or given again")->required();
  eval->add_option("--input", raw->inputs, "Files to read")->required();
  AddShape(eval, *raw);
  eval->add_option("--rounds", raw->evaluate.rounds, "Rounds with error control")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  eval->add_option("--draws", raw->evaluate.draws, "Encodings that random codecs are averaged over")
      ->capture_default_str()
      ->check(CLI::Range(2, 100000));
  eval->add_option("--seed", raw->evaluate.seed, "Of random codecs")->capture_default_str();
  eval->add_flag("--json", raw->json)->description("As JSON");

  return {codec, [=] { return encode->parsed() ? Encode(*raw) : decode->parsed() ? Decode(*raw) : Eval(*raw); }};
}

}  // namespace laconic::tools
