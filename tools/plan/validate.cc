#include "tools/plan/validate.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/compressors/spec.h"
#include "tools/sample_data.h"

namespace laconic::tools {
namespace {

absl::StatusOr<double> PredictSeconds(const CollectiveResult& row, const CodecFiguresOf& codecs,
                                      const Setting& setting) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<SpecRule> rules, ParseSpec(row.spec));
  LACONIC_ASSIGN_OR_RETURN(Pipeline pipeline, MakePipeline(rules.front().pipeline, CodecRegistry::BuiltIn()));
  const Shape shape = NearSquare(row.size_bytes / sizeof(float));
  CodecFigures codec;
  if (!pipeline.dense()) {
    LACONIC_ASSIGN_OR_RETURN(codec, codecs(*pipeline.codec, shape));
  }
  LACONIC_ASSIGN_OR_RETURN(
      const BucketOutline bucket,
      OutlineBucket(std::make_shared<const Pipeline>(std::move(pipeline)), std::span(&shape, 1), codec, setting.ranks));
  LACONIC_ASSIGN_OR_RETURN(const PlannedBucket planned, PlanBucket(bucket, setting));
  return planned.cost.seconds();
}

ValidatedChoice ChoiceAt(uint64_t size_bytes, const std::vector<ValidatedRow>& rows) {
  const ValidatedRow *chosen = nullptr, *fastest = nullptr;
  for (const ValidatedRow& row : rows) {
    if (row.size_bytes != size_bytes) continue;
    if (chosen == nullptr || row.predicted_seconds < chosen->predicted_seconds) chosen = &row;
    if (fastest == nullptr || row.measured_seconds < fastest->measured_seconds) fastest = &row;
  }
  return {.size_bytes = size_bytes,
          .chosen = chosen->spec,
          .fastest = fastest->spec,
          .regret = chosen->measured_seconds / fastest->measured_seconds - 1};
}

}  // namespace

bool Validation::Within(double tolerance, double regret) const {
  return std::all_of(rows.begin(), rows.end(),
                     [&](const ValidatedRow& row) { return std::abs(row.difference()) <= tolerance; }) &&
         std::all_of(choices.begin(), choices.end(),
                     [&](const ValidatedChoice& choice) { return choice.regret <= regret; });
}

absl::StatusOr<Validation> Validate(const ResultFile& measured, uint64_t least_size_bytes, const CodecFiguresOf& codecs,
                                    const Setting& setting) {
  if (measured.kind != "allreduce") {
    return absl::InvalidArgumentError(fmt::format(
        "{}: of kind {}; the plan is of an allreduce (laconic bench allreduce -J)", measured.name, measured.kind));
  }
  Validation validation;
  std::vector<uint64_t> sizes;
  for (const CollectiveResult& row : measured.collectives) {
    const bool pipeline = FindStrategy(row.runs_as) != nullptr && row.time_seconds > 0;
    if (!pipeline || row.size_bytes < std::max<uint64_t>(least_size_bytes, sizeof(float))) {
      ++validation.left_out;
      continue;
    }
    const absl::StatusOr<double> predicted = PredictSeconds(row, codecs, setting);
    if (!predicted.ok()) return Annotate(predicted.status(), measured.name);
    validation.rows.push_back({.spec = row.spec,
                               .runs_as = row.runs_as,
                               .size_bytes = row.size_bytes,
                               .measured_seconds = row.time_seconds,
                               .predicted_seconds = *predicted});
    if (std::find(sizes.begin(), sizes.end(), row.size_bytes) == sizes.end()) sizes.push_back(row.size_bytes);
  }
  if (validation.rows.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: no row of at least {} bytes among {}", measured.name, least_size_bytes, validation.left_out));
  }
  for (uint64_t size : sizes) validation.choices.push_back(ChoiceAt(size, validation.rows));
  return validation;
}

}  // namespace laconic::tools
