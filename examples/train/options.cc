#include "examples/train/options.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

#include "CLI/CLI.hpp"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "laconic/base/status.h"
#include "laconic/compressors/spec.h"
#include "laconic/optim/distributed_optimizer.h"

namespace laconic::train {
namespace {

constexpr const char* kDescription = "Trains a small network by several ranks that compress what they tell each other.";

constexpr const char* kExamples = R"help(Examples:
  train                                              4 ranks in this process, top-k with error control
  train --quickstart                                 five methods on a 100 Mbit/s link, one table
  train --spec "sign+ef+scatter" --link 1Gbit,rtt=1ms
  train --compare dense "lowrank(rank=4)+ef" --model cnn --epochs 2
  train --spec "fc*.weight: topk(ratio=0.01)+econtrol; *: dense"
  train --model transformer --steps 1000 --optimizer adamw --lr 0.002
  train --split labels --spec "topk(ratio=0.01)+ef21" --optimizer "adamw(weight_decay=0.01)" --lr 0.001
  train --checkpoint run1 --checkpoint-every 100     and after a crash the same with --resume
  mpirun -np 4 train --spec "quantize(bits=4)+ef+scatter" --metrics steps.jsonl
Exit status: 0 success, 1 wrong usage, 2 failure while running.)help";

// The texts as they come, before they are understood.
struct RawOptions {
  std::string model = "mlp", split = "iid", link, spec = "topk(ratio=0.01)+econtrol", non_finite = "skip",
              reshard = "none", overlap = "on", rescale_error = "off";
  std::vector<std::string> compare;
  std::vector<int64_t> inject_nan, die_at;
  int ranks = 4;
  double timeout_seconds = 60;
};

// The main job of the README: what compression buys on a 100 Mbit/s link.
void ApplyQuickstart(Options& options, RawOptions& raw) {
  raw.link = "100Mbit";
  raw.compare = {"dense", "topk(ratio=0.01)+econtrol", "sign+ef+scatter", "lowrank(rank=2)+ef",
                 "quantize(bits=4)+ef+scatter"};
  options.optimizer = "sgd";
  options.learning_rate = 0.3;
  options.schedule = "linear(final=0.01)";
  options.epochs = 4.5;
  options.batch = 64;  // four ranks share two cores: little enough computing that the link is what is measured
}

absl::Status Understand(const RawOptions& raw, Options& options) {
  LACONIC_ASSIGN_OR_RETURN(options.model, nn::ParseModelKind(raw.model));
  LACONIC_ASSIGN_OR_RETURN(options.split, nn::Split::Parse(raw.split));
  if (!raw.link.empty()) {
    LACONIC_ASSIGN_OR_RETURN(options.link, LinkModel::Parse(raw.link));
    options.sync.link = *options.link;
  }
  options.compare = !raw.compare.empty();
  options.specs = options.compare ? raw.compare : std::vector<std::string>{raw.spec};
  for (const std::string& spec : options.specs) {
    LACONIC_RETURN_IF_ERROR(Annotate(ParseSpec(spec).status(), fmt::format("\"{}\"", spec)));
  }
  LACONIC_RETURN_IF_ERROR(Annotate(CanonicalOptimizer(options.optimizer).status(), "--optimizer"));
  LACONIC_ASSIGN_OR_RETURN(const std::string schedule, CompleteSchedule(options.schedule, uint64_t{1} << 40));
  LACONIC_RETURN_IF_ERROR(
      Annotate(LearningRateSchedule::Parse(schedule, options.learning_rate).status(), "--schedule"));

  const std::map<std::string, NonFinitePolicy> policies = {
      {"skip", NonFinitePolicy::kSkip}, {"fail", NonFinitePolicy::kFail}, {"zero", NonFinitePolicy::kZero}};
  const std::map<std::string, ReshardRule> rules = {
      {"none", ReshardRule::kNone}, {"mean", ReshardRule::kMean}, {"reset", ReshardRule::kReset}};
  options.sync.non_finite = policies.at(raw.non_finite);
  options.sync.overlap = raw.overlap == "on";
  options.sync.rescale_error = raw.rescale_error == "on";
  options.sync.seed = options.seed;
  options.sync.measure_error = true;
  options.reshard = rules.at(raw.reshard);
  options.timeout = absl::Seconds(raw.timeout_seconds);
  if (!raw.inject_nan.empty()) {
    options.faults.nan_step = raw.inject_nan[0];
    options.faults.nan_rank = static_cast<int>(raw.inject_nan[1]);
  }
  if (!raw.die_at.empty()) {
    options.faults.die_at_step = raw.die_at[0];
    if (raw.die_at.size() > 1) options.faults.die_rank = static_cast<int>(raw.die_at[1]);
  }

  if (options.hidden.empty()) {
    options.hidden = options.model == nn::ModelKind::kCnn ? std::vector<size_t>{128} : std::vector<size_t>{256, 128};
  }
  const bool transformer = options.model == nn::ModelKind::kTransformer;
  if (options.data.empty()) options.data = transformer ? "bible" : "fashion-mnist";
  if (options.batch == 0) options.batch = transformer ? 8 : 128;
  if (transformer != (options.data == "bible" || options.data.starts_with("text:"))) {
    return absl::InvalidArgumentError(fmt::format(
        "--model {} --data {}: the transformer reads texts (bible, text:FILE), the other models anything else",
        raw.model, options.data));
  }
  if (options.compare && !options.checkpoint.empty()) {
    return absl::InvalidArgumentError("--checkpoint is for one spec; --compare runs several");
  }
  if (options.compare && !options.label.empty()) {
    return absl::InvalidArgumentError("--label is for one spec; --compare runs several");
  }
  if (options.checkpoint.empty() && (options.resume || options.checkpoint_every > 0)) {
    return absl::InvalidArgumentError("--resume and --checkpoint-every need --checkpoint FOLDER");
  }
  return absl::OkStatus();
}

void AddProblem(CLI::App& app, Options& options, RawOptions& raw) {
  const char* group = "Problem";
  app.add_option("--model", raw.model, "logistic | mlp | cnn | transformer")->capture_default_str()->group(group);
  app.add_option("--hidden", options.hidden, "Widths of the hidden dense layers [256,128; cnn: 128]")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20))
      ->group(group);
  app.add_option("--blocks", options.blocks, "Blocks of the transformer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 10))
      ->group(group);
  app.add_option("--width", options.width, "Features of a character in the transformer")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 16))
      ->group(group);
  app.add_option("--heads", options.heads, "Attention heads of the transformer, which divide the width")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 10))
      ->group(group);
  app.add_option("--context", options.context, "Characters of a text that are one sample")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 14))
      ->group(group);
  app.add_option("--data", options.data,
                 "fashion-mnist[:FOLDER] | idx:IMAGES,LABELS[,TEST_IMAGES,TEST_LABELS] | libsvm:TRAIN[,TEST] | bible | "
                 "text:FILE [fashion-mnist; transformer: bible]")
      ->group(group);
  app.add_option("--split", raw.split, "How samples are divided among ranks: iid | labels | shards=S | dirichlet=A | lognormal=S | power=A")
      ->capture_default_str()
      ->group(group);
  app.add_option("--batch", options.batch, "Samples of a rank in a micro-batch [128; transformer: 8]")
      ->check(CLI::Range(1, 1 << 20))
      ->group(group);
  app.add_option("--accumulate", options.accumulate, "Micro-batches in a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20))
      ->group(group);
  app.add_option("--seed", options.seed, "Of weights, samples and codecs")->capture_default_str()->group(group);
}

// "sgd(momentum=, nesterov=) | adamw(beta1=)", from the library's table.
std::string KnownOptimizers() {
  std::string text;
  for (const OptimizerInfo& info : OptimizerTable()) {
    text += fmt::format("{}{}(", text.empty() ? "" : " | ", info.name);
    for (size_t i = 0; i < info.parameters.size(); ++i) {
      text += fmt::format("{}{}=", i == 0 ? "" : ", ", info.parameters[i].key);
    }
    text += ")";
  }
  return text;
}

void AddMethod(CLI::App& app, Options& options, RawOptions& raw) {
  const char* group = "Method";
  CLI::Option* spec =
      app.add_option("--spec", raw.spec,
                     "How gradients are compressed: codec+error control+strategy, or \"dense\" (default of 1-bit "
                     "optimizers: what their papers use)")
          ->capture_default_str()
          ->group(group);
  app.add_option("--compare", raw.compare, "Runs each of these specs from the same start and prints one table")
      ->excludes(spec)
      ->group(group);
  app.add_option("--optimizer", options.optimizer, KnownOptimizers())->capture_default_str()->group(group);
  app.add_option("--lr", options.learning_rate, "Learning rate")->capture_default_str()->group(group);
  app.add_option("--schedule", options.schedule,
                 "constant | step(every=, factor=) | linear(final=) | cosine(final=), each with warmup=STEPS")
      ->capture_default_str()
      ->group(group);
  app.add_option("--epochs", options.epochs, "Passes over the training set")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group(group);
  app.add_option("--steps", options.steps, "Steps, instead of epochs")->check(CLI::PositiveNumber)->group(group);
  app.add_option("--dense-warmup", options.sync.dense_warmup_steps, "First steps that go uncompressed")->group(group);
  app.add_option("--rescale-error", raw.rescale_error,
                 "Keep what the error owes the weights when the learning rate changes: on | off")
      ->capture_default_str()
      ->check(CLI::IsMember({"on", "off"}))
      ->group(group);
  app.add_option("--clip", options.sync.clip_norm, "Largest norm of the gradient, before compression (0: off)")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  app.add_option("--non-finite", raw.non_finite, "On a NaN or infinity: skip the step | fail | zero the elements")
      ->capture_default_str()
      ->check(CLI::IsMember({"skip", "fail", "zero"}))
      ->group(group);
}

void AddMachine(CLI::App& app, Options& options, RawOptions& raw) {
  const char* group = "Machine";
  app.add_option("--ranks", raw.ranks, "Ranks, as threads of this process (under mpirun: its processes)")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024))
      ->group(group);
  app.add_option("--link", raw.link,
                 "Emulated link of each rank, as 100Mbit or 1Gbit,rtt=1ms (default: as fast as it is)")
      ->group(group);
  app.add_option("--overlap", raw.overlap, "Communicate while backward runs: on | off")
      ->capture_default_str()
      ->check(CLI::IsMember({"on", "off"}))
      ->group(group);
  app.add_option("--bucket-bytes", options.sync.bucket_bytes, "Gradients are sent in buckets of about this size, as 4M")
      ->capture_default_str()
      ->transform(CLI::AsSizeValue(false))
      ->group(group);
  app.add_option("--min-bytes", options.sync.min_bytes, "Tensors smaller than this go uncompressed")
      ->capture_default_str()
      ->transform(CLI::AsSizeValue(false))
      ->group(group);
  app.add_option("--encode-threads", options.sync.encode_threads, "Threads of a rank that encode")
      ->capture_default_str()
      ->check(CLI::Range(1, 256))
      ->group(group);
  app.add_option("--timeout", raw.timeout_seconds, "Seconds that a rank waits for another before it gives up")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group(group);
}

void AddFiles(CLI::App& app, Options& options, RawOptions& raw) {
  const char* group = "Files";
  app.add_option("--checkpoint", options.checkpoint, "Folder that the run is saved to, at the end at least")
      ->group(group);
  app.add_option("--checkpoint-every", options.checkpoint_every, "Steps between two saves")->group(group);
  app.add_flag("--resume", options.resume, "Continue from the checkpoint, if there is one")->group(group);
  app.add_option("--reshard", raw.reshard, "Resume on another number of ranks: none (refuse) | mean | reset")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "mean", "reset"}))
      ->group(group);
  app.add_option("--metrics", options.metrics, "One JSON object for each step of rank 0")->group(group);
  app.add_option("--json", options.json, "The final table and the loss curves as JSON, for laconic report")
      ->group(group);
  app.add_option("--dump-gradients", options.dump_gradients,
                 "Rank 0's gradients of the last step, as safetensors (of several specs, the last's)")
      ->group(group);
  app.add_option("--label", options.label, "What the run is called there [the spec]")->group(group);
  app.add_option("--curve-every", options.curve_every, "Steps between two points of a curve [a hundredth of all]")
      ->check(CLI::PositiveNumber)
      ->group(group);
}

void AddFaults(CLI::App& app, Options& options, RawOptions& raw) {
  const char* hidden = "";
  app.add_option("--inject-nan", raw.inject_nan, "STEP,RANK")->delimiter(',')->expected(2)->group(hidden);
  app.add_option("--inject-shape-mismatch", options.faults.shape_mismatch_rank, "RANK")->group(hidden);
  app.add_option("--inject-spec-mismatch", options.faults.spec_mismatch_rank, "RANK")->group(hidden);
  app.add_option("--die-at", raw.die_at, "STEP[,RANK]")->delimiter(',')->expected(1, 2)->group(hidden);
}

}  // namespace

std::string Options::Fingerprint() const {
  constexpr const char* kModels[] = {"logistic", "mlp", "cnn", "transformer"};
  const std::string shape = model == nn::ModelKind::kTransformer
                                ? fmt::format("blocks={} width={} heads={} context={}", blocks, width, heads, context)
                                : fmt::format("hidden={}", fmt::join(hidden, ","));
  return fmt::format(
      "model={} {} data={} split={} seed={} batch={} accumulate={} spec={} optimizer={} lr={} schedule={} "
      "dense_warmup={} min_bytes={} rescale_error={} clip={} non_finite={}",
      kModels[static_cast<int>(model)], shape, data, split.ToString(), seed, batch, accumulate, specs.front(),
      optimizer, learning_rate, schedule, sync.dense_warmup_steps, sync.min_bytes, sync.rescale_error, sync.clip_norm,
      static_cast<int>(sync.non_finite));
}

absl::StatusOr<std::string> CompleteSchedule(const std::string& schedule, uint64_t total_steps) {
  LACONIC_ASSIGN_OR_RETURN(SpecCall call, ParseSpecCall(schedule));
  const bool has_total = std::any_of(call.arguments.begin(), call.arguments.end(),
                                     [](const SpecArgument& argument) { return argument.key == "total"; });
  if ((call.name == "linear" || call.name == "cosine") && !has_total) {
    call.arguments.push_back({"total", SpecCall{fmt::to_string(total_steps), {}}});
  }
  return call.ToString();
}

ParsedOptions ParseOptions(int argc, const char* const* argv) {
  Options options;
  RawOptions raw;
  // The preset changes defaults, so whatever else is given still counts.
  bool quickstart =
      std::any_of(argv + 1, argv + argc, [](const char* arg) { return !std::strcmp(arg, "--quickstart"); });
  if (quickstart) ApplyQuickstart(options, raw);

  CLI::App app(kDescription, "train");
  app.footer(kExamples);
  app.add_flag(
      "--quickstart", quickstart,
      "The README's main job: dense and four compressed methods on a 100 Mbit/s link; other options still count");
  AddProblem(app, options, raw);
  AddMethod(app, options, raw);
  AddMachine(app, options, raw);
  AddFiles(app, options, raw);
  AddFaults(app, options, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return {std::nullopt, app.exit(error) == 0 ? 0 : 1};
  }
  if (app.count("--ranks") > 0) options.ranks = raw.ranks;
  if (app.count("--spec") > 0) {
    raw.compare.clear();
  } else if (const auto of_optimizer = DefaultSpec(options.optimizer); of_optimizer.ok() && !of_optimizer->empty()) {
    raw.spec = *of_optimizer;
  }
  if (const absl::Status status = Understand(raw, options); !status.ok()) {
    fmt::print(stderr, "train: {}\n", std::string(status.message()));
    return {std::nullopt, 1};
  }
  return {std::move(options), 0};
}

}  // namespace laconic::train
