// `laconic bench codec`: how fast codecs are against memory, on normal, heavy-tailed and the user's own data.
#include <cstdio>
#include <memory>

#include "fmt/format.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/pipeline.h"
#include "tools/bench/bench.h"
#include "tools/codec_speed.h"
#include "tools/machine.h"
#include "tools/progress.h"
#include "tools/sample_data.h"
#include "tools/specs.h"
#include "tools/table.h"
#include "tools/tensor_file.h"
#include "tools/text.h"

namespace laconic::tools {
namespace {

constexpr const char* kDefaultSpecs =
    "sign,topk(ratio=0.01),topk(ratio=0.001),quantize(bits=8),quantize(bits=4),"
    "quantize(bits=4, rounding=stochastic),cast(to=bf16),cast(to=fp16),randk(ratio=0.01),natural,lowrank(rank=4),"
    "composite(topk(ratio=0.005), quantize(bits=2)),entropy(cast(to=bf16)),entropy(identity)";

struct Raw {
  std::vector<std::string> specs, inputs;
  std::string elements = "25.6M", shape, json_file;
  MeasureOptions measure;
  bool json = false, progress = false;
};

struct Input {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

// The named input: "gaussian", "student-t3", or a file.
absl::StatusOr<Input> MakeInput(const Raw& raw, const std::string& name) {
  if (name != "gaussian" && name != "student-t3") {
    LACONIC_ASSIGN_OR_RETURN(TensorFile file, ReadTensorFile(name));
    if (!file.notice.empty()) fmt::print(stderr, "{}: {}\n", name, file.notice);
    LACONIC_ASSIGN_OR_RETURN(const Shape shape, ShapeOr(raw.shape, file.values.size(), file.shape));
    return Input{.name = "file " + name, .shape = shape, .values = std::move(file.values)};
  }
  uint64_t elements = 0;
  Shape shape;
  if (raw.shape.empty()) {
    LACONIC_ASSIGN_OR_RETURN(elements, ParseElementCount("--elements", raw.elements));
    shape = NearSquare(elements);
  } else {
    LACONIC_ASSIGN_OR_RETURN(const std::vector<uint64_t> dimensions, ParseDimensions("--shape", raw.shape));
    LACONIC_ASSIGN_OR_RETURN(shape, Shape::Make(dimensions));
    elements = shape.elements();
  }
  return Input{
      .name = name,
      .shape = shape,
      .values = name == "gaussian" ? Gaussian(elements, raw.measure.seed) : StudentT3(elements, raw.measure.seed)};
}

std::vector<Column> Columns(const std::vector<AskedPipeline>& codecs) {
  size_t width = 6;
  for (const AskedPipeline& codec : codecs) width = std::max(width, codec.spec.size());
  return {
      {"input", "", 10, true},    {"elements", "", 10},      {"spec", "", width, true},   {"encode", "(GB/s)", 7},
      {"residual", "(GB/s)", 8},  {"decode", "(GB/s)", 7},   {"session", "(GB/s)", 7},    {"memcpy", "(GB/s)", 7},
      {"read", "(GB/s)", 7},      {"encode", "x memcpy", 8}, {"residual", "x memcpy", 8}, {"decode", "x memcpy", 8},
      {"session", "x memcpy", 8}, {"residual", "x read", 8}, {"bits", "/element", 8},     {"error", "|x-C|/|x|", 9}};
}

std::string Line(const std::vector<Column>& columns, const Input& input, const AskedPipeline& codec,
                 const CodecSpeed& speed) {
  auto giga = [&](const std::vector<double>& seconds) {
    return seconds.empty() ? std::string("-") : fmt::format("{:.2f}", speed.BytesPerSecond(seconds) / 1e9);
  };
  auto times = [&](const std::vector<double>& seconds, const std::vector<double>& reference) {
    return seconds.empty() ? std::string("-") : fmt::format("{:.2f}", Median(reference) / Median(seconds));
  };
  return FormatRow(columns, {input.name, fmt::to_string(speed.elements), codec.spec, giga(speed.encode),
                             giga(speed.encode_residual), giga(speed.decode_add), giga(speed.session),
                             giga(speed.memcpy), giga(speed.read), times(speed.encode, speed.memcpy),
                             times(speed.encode_residual, speed.memcpy), times(speed.decode_add, speed.memcpy),
                             times(speed.session, speed.memcpy), times(speed.encode_residual, speed.read),
                             fmt::format("{:.3g}", 8.0 * static_cast<double>(speed.body_bytes) /
                                                       static_cast<double>(speed.elements)),
                             fmt::format("{:.3g}", speed.relative_error)});
}

nlohmann::ordered_json Json(const Input& input, const AskedPipeline& codec, int threads, const CodecSpeed& speed) {
  nlohmann::ordered_json shape = nlohmann::ordered_json::array();
  for (uint64_t dimension : input.shape.dimensions()) shape.push_back(dimension);
  nlohmann::ordered_json json = {
      {"spec", codec.spec},
      {"input", input.name},
      {"elements", speed.elements},
      {"shape", shape},
      {"threads", threads},
      {"memcpy_bytes_per_second", speed.BytesPerSecond(speed.memcpy)},
      {"read_bytes_per_second", speed.BytesPerSecond(speed.read)},
      {"body_bytes", speed.body_bytes},
      {"bits_per_element", 8.0 * static_cast<double>(speed.body_bytes) / static_cast<double>(speed.elements)},
      {"error", speed.relative_error}};
  nlohmann::ordered_json times = {{"memcpy", speed.memcpy}, {"read", speed.read}};
  auto add = [&](const std::string& name, const std::vector<double>& seconds) {
    if (seconds.empty()) return;
    json[name + "_bytes_per_second"] = speed.BytesPerSecond(seconds);
    json[name + "_x_memcpy"] = Median(speed.memcpy) / Median(seconds);
    json[name + "_x_read"] = Median(speed.read) / Median(seconds);
    times[name] = seconds;
  };
  add("encode", speed.encode);
  add("encode_residual", speed.encode_residual);
  add("decode_add", speed.decode_add);
  add("session", speed.session);
  if (speed.session_bytes > 0) json["session_bytes"] = speed.session_bytes;
  json["times_seconds"] = std::move(times);
  return json;
}

absl::StatusOr<Answer> RunCodecBench(const Raw& raw, const std::string& command_line) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<AskedPipeline> codecs,
                           ParsePipelines(raw.specs.empty() ? std::vector<std::string>{kDefaultSpecs} : raw.specs));
  const std::vector<Column> columns = Columns(codecs);
  Progress progress(raw.progress);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  if (!raw.json) fmt::print("{}", FormatHeader(columns));
  for (const std::string& name : raw.inputs.empty() ? std::vector<std::string>{"gaussian", "student-t3"} : raw.inputs) {
    LACONIC_ASSIGN_OR_RETURN(const Input input, MakeInput(raw, name));
    for (const AskedPipeline& codec : codecs) {
      progress.Note(fmt::format("{} on {}", codec.spec, input.name));
      const absl::StatusOr<CodecSpeed> speed =
          MeasureCodec(*codec.pipeline.codec, input.shape, input.values, raw.measure);
      progress.Clear();
      if (!speed.ok()) return Annotate(speed.status(), fmt::format("{} on {}", codec.spec, input.name));
      rows.push_back(Json(input, codec, raw.measure.threads, *speed));
      if (!raw.json) fmt::print("{}", Line(columns, input, codec, *speed));
      std::fflush(stdout);
    }
  }
  nlohmann::ordered_json json = {{"schema", "laconic-bench"},
                                 {"version", 1},
                                 {"kind", "codec"},
                                 {"command", command_line},
                                 {"date", UtcNow()},
                                 {"machine", DescribeMachine()},
                                 {"ranks", 1},
                                 {"backend", "inproc"},
                                 {"link", nullptr},
                                 {"seed", raw.measure.seed},
                                 {"warmup", raw.measure.warmup},
                                 {"repetitions", raw.measure.repetitions},
                                 {"rows", std::move(rows)}};
  const std::string text = json.dump(1) + "\n";
  if (raw.json) fmt::print("{}", text);
  if (!raw.json_file.empty()) {
    LACONIC_RETURN_IF_ERROR(WriteFileAtomically(raw.json_file, std::as_bytes(std::span(text))));
  }
  return Answer::kYes;
}

}  // namespace

Command AddCodecBench(CLI::App& bench, const std::string& command_line) {
  CLI::App* app = bench.add_subcommand("codec", "Encoding and decoding speed, in GB/s of float32 and against memory");
  app->footer(
      "encode, residual (error added, encoded, residual left: the sending side of a step), decode (added to an array) "
      "and, of\n"
      "linear codecs, session (a step through rounds of floats) are timed in turn with memcpy and a read of the same "
      "array.\n\n"
      "Examples:\n"
      "  laconic bench codec                                        every codec on 25.6 M values, normal and Student's "
      "t(3)\n"
      "  laconic bench codec --spec \"topk(ratio=0.01),sign\" --input grads.npy --input gaussian\n"
      "  laconic bench codec --spec \"lowrank(rank=4)\" --shape 4096x4096 -J speed.json");
  auto raw = std::make_shared<Raw>();
  app->add_option("--spec", raw->specs, "Specs, separated by commas or given again [one or more of every codec]");
  app->add_option("--input", raw->inputs,
                  "gaussian, student-t3, or a file: .npy, or raw float32; may be given again [gaussian student-t3]");
  app->add_option("--elements", raw->elements, "Values to draw; K, M, G are powers of 1000")->capture_default_str();
  app->add_option("--shape", raw->shape, "The tensor's shape, as 4096x1024 [.npy: its own; else as square as can be]");
  app->add_option("-n,--iters", raw->measure.repetitions, "Repetitions; the median is reported")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  app->add_option("-w,--warmup-iters", raw->measure.warmup, "Repetitions before those")
      ->capture_default_str()
      ->check(CLI::Range(0, 100000));
  app->add_option("--threads", raw->measure.threads, "Threads that work on the one tensor, in memcpy and read too")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  app->add_option("--seed", raw->measure.seed, "Of data and codecs")->capture_default_str();
  app->add_option("-J,--json-file", raw->json_file, "Also write everything, raw times too, as JSON (docs/bench.md)");
  app->add_flag("--json", raw->json)->description("Print that JSON instead of the table");
  app->add_flag("--progress", raw->progress)->description("Say on stderr what is being measured");
  return {app, [=] { return RunCodecBench(*raw, command_line); }};
}

}  // namespace laconic::tools
