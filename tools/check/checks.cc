#include "tools/check/checks.h"

#include <cmath>
#include <cstring>

#include "compressors/kernels/targets.h"
#include "fmt/format.h"
#include "laconic/compressors/payload.h"
#include "tools/check/quadratic.h"
#include "tools/codec/evaluate.h"
#include "tools/sample_data.h"

namespace laconic::tools {
namespace {

struct Sample {
  std::string name;
  std::vector<float> x;
};

const Shape kShape({48, 44});  // not a multiple of any vector or block

std::vector<Sample> Samples() {
  const size_t count = kShape.elements();
  std::vector<Sample> samples = {{"gaussian", Gaussian(count, 1)},
                                 {"student-t3", StudentT3(count, 2)},
                                 {"sparse", Gaussian(count, 3)},
                                 {"one-hot", std::vector<float>(count)},
                                 {"constant", std::vector<float>(count, -0.75f)}};
  for (size_t i = 0; i < count; ++i) {
    if (i % 50 != 7) samples[2].x[i] = 0;
  }
  samples[3].x[count / 3] = 2.5f;
  return samples;
}

Finding Failed(const std::string& check, const std::string& detail) {
  return {.check = check, .passed = false, .detail = detail};
}

struct Encoded {
  std::vector<std::byte> body;
  std::vector<float> decoded;
};

absl::StatusOr<Encoded> EncodeAndDecode(const Compressor& codec, const Message& message, const RngKey& key) {
  std::vector<float> x(message.size());
  message.Form(0, x);
  Encoded encoded{.body = std::vector<std::byte>(codec.MaxBodyBytes(kShape)), .decoded = std::vector<float>(x.size())};
  const absl::StatusOr<size_t> bytes = codec.Encode(x, kShape, key, encoded.body);
  if (!bytes.ok()) return bytes.status();
  encoded.body.resize(*bytes);
  const absl::Status status = codec.DecodeAdd(encoded.body, kShape, 1.0f, encoded.decoded);
  if (!status.ok()) return status;
  return encoded;
}

// max |C(x) - x| <= (1 - delta) max |x|, a rounding of the scale aside.
Finding CheckMaxNormPromise(const Compressor& codec, const std::vector<Sample>& samples, double delta) {
  double worst = 0;
  for (const Sample& sample : samples) {
    const absl::StatusOr<Encoded> encoded = EncodeAndDecode(codec, sample.x, {});
    if (!encoded.ok()) return Failed("promise", fmt::format("{}: {}", sample.name, encoded.status().ToString()));
    double error = 0, largest = 0;
    for (size_t i = 0; i < sample.x.size(); ++i) {
      error = std::max(error, std::fabs(static_cast<double>(encoded->decoded[i]) - sample.x[i]));
      largest = std::max(largest, std::fabs(static_cast<double>(sample.x[i])));
    }
    if (error > (1 - delta + 1e-6) * largest) {
      return Failed("promise", fmt::format("{}: max |x - C(x)| = {:.4g} max |x|, promised {:.4g}", sample.name,
                                           error / largest, 1 - delta));
    }
    if (largest > 0) worst = std::max(worst, error / largest);
  }
  return {.check = "promise",
          .detail = fmt::format("max |x - C(x)| <= {:.4g} max |x|, promised {:.4g}", worst, 1 - delta)};
}

Finding CheckPromise(const Compressor& codec, const std::vector<Sample>& samples) {
  const Traits traits = codec.traits(kShape);
  if (!traits.delta && !traits.omega) {
    return traits.max_norm_delta ? CheckMaxNormPromise(codec, samples, *traits.max_norm_delta)
                                 : Finding{.check = "promise", .detail = "none made"};
  }
  double worst = 0;
  for (const Sample& sample : samples) {
    // The codec alone: without a control the shared_ptr need not own it.
    const Pipeline pipeline{.codec = std::shared_ptr<const Compressor>(std::shared_ptr<void>(), &codec)};
    const absl::StatusOr<Evaluation> e = Evaluate(pipeline, kShape, sample.x, {.draws = 1000});
    if (!e.ok()) return Failed("promise", fmt::format("{}: {}", sample.name, e.status().ToString()));
    const double error2 = e->error * e->error;
    if (!e->kept) {
      return Failed("promise", fmt::format("{}: |x - C(x)|^2 = {:.4g} |x|^2, promised delta {}, omega {}", sample.name,
                                           error2, traits.delta.value_or(NAN), traits.omega.value_or(NAN)));
    }
    worst = std::max(worst, error2);
  }
  std::string promised = traits.delta ? fmt::format("1 - delta = {:.4g}", 1 - *traits.delta) : "";
  if (traits.omega) promised += fmt::format("{}omega = {:.4g}", promised.empty() ? "" : ", ", *traits.omega);
  return {.check = "promise", .detail = fmt::format("|x - C(x)|^2 <= {:.4g} |x|^2, {}", worst, promised)};
}

Finding CheckResidual(const Compressor& codec, const std::vector<Sample>& samples) {
  for (const Sample& sample : samples) {
    const std::vector<float> error = Gaussian(sample.x.size(), 9);
    Message message(sample.x);
    message.error = error;
    message.error_weight = 0.5f;
    const RngKey key{.seed = 4};
    const absl::StatusOr<Encoded> encoded = EncodeAndDecode(codec, message, key);
    if (!encoded.ok()) return Failed("residual", fmt::format("{}: {}", sample.name, encoded.status().ToString()));
    std::vector<float> residual(sample.x.size()), formed(sample.x.size());
    std::vector<std::byte> body(codec.MaxBodyBytes(kShape));
    const absl::StatusOr<size_t> bytes = codec.EncodeResidual(message, kShape, key, residual, body);
    if (!bytes.ok()) return Failed("residual", fmt::format("{}: {}", sample.name, bytes.status().ToString()));
    body.resize(*bytes);
    if (body != encoded->body) return Failed("residual", fmt::format("{}: other bytes than Encode's", sample.name));
    message.Form(0, formed);
    for (size_t i = 0; i < formed.size(); ++i) {
      const float expected = formed[i] - encoded->decoded[i];
      if (!(residual[i] == expected)) {
        return Failed("residual",
                      fmt::format("{}: element {} is {}, m - C(m) is {}", sample.name, i, residual[i], expected));
      }
    }
  }
  return {.check = "residual", .detail = "m - C(m), exactly"};
}

Finding CheckRoundTrip(const Compressor& codec, const std::vector<Sample>& samples) {
  size_t largest = 0;
  for (const Sample& sample : samples) {
    const absl::StatusOr<Encoded> encoded = EncodeAndDecode(codec, sample.x, {});
    if (!encoded.ok()) return Failed("round trip", fmt::format("{}: {}", sample.name, encoded.status().ToString()));
    const PayloadHeader header{.codec = codec.id(), .tensor = 3, .step = 7, .elements = kShape.elements()};
    std::vector<std::byte> frame(kPayloadHeaderBytes + encoded->body.size());
    std::copy(encoded->body.begin(), encoded->body.end(), frame.begin() + kPayloadHeaderBytes);
    SealPayload(header, encoded->body.size(), frame);
    const size_t limit = codec.MaxBodyBytes(kShape);
    const auto body = OpenPayload(frame, header, limit, "tensor", 0);
    if (!body.ok()) return Failed("round trip", fmt::format("{}: {}", sample.name, body.status().ToString()));
    std::vector<float> again(kShape.elements());
    const absl::Status status = codec.DecodeAdd(*body, kShape, 1.0f, again);
    if (!status.ok()) return Failed("round trip", fmt::format("{}: {}", sample.name, status.ToString()));
    if (std::memcmp(again.data(), encoded->decoded.data(), again.size() * sizeof(float)) != 0) {
      return Failed("round trip", fmt::format("{}: two decodings of one body differ", sample.name));
    }
    for (size_t cut : {frame.size() - 1, kPayloadHeaderBytes - 1}) {
      if (OpenPayload(std::span(frame).first(cut), header, limit, "tensor", 0).ok()) {
        return Failed("round trip",
                      fmt::format("{}: {} bytes of a frame of {} are accepted", sample.name, cut, frame.size()));
      }
    }
    largest = std::max(largest, frame.size());
  }
  return {.check = "round trip", .detail = fmt::format("frames of up to {} bytes", largest)};
}

Finding CheckTargets(const Compressor& codec, const std::vector<Sample>& samples) {
  std::string names;
  for (int64_t target : kernels::RunnableTargets()) {
    const std::string name(kernels::TargetName(target));
    names += (names.empty() ? "" : " ") + name;
    for (const Sample& sample : samples) {
      const absl::StatusOr<Encoded> expected = EncodeAndDecode(codec, sample.x, {});
      if (!expected.ok()) return Failed("targets", fmt::format("{}: {}", sample.name, expected.status().ToString()));
      std::vector<float> decoded(sample.x.size());
      const kernels::ForcedTarget forced(target);
      const absl::Status status = codec.DecodeAdd(expected->body, kShape, 1.0f, decoded);
      if (!status.ok()) return Failed("targets", fmt::format("{} on {}: {}", sample.name, name, status.ToString()));
      if (std::memcmp(decoded.data(), expected->decoded.data(), decoded.size() * sizeof(float)) != 0) {
        return Failed("targets", fmt::format("{}: {} decodes other bits", sample.name, name));
      }
    }
  }
  return {.check = "targets", .detail = names};
}

// The distance, 1 at the start, below which there is nothing to compensate.
constexpr double kFloatFloor = 1e-4;

}  // namespace

std::vector<Finding> CheckCodec(const Compressor& codec) {
  const std::vector<Sample> samples = Samples();
  return {CheckPromise(codec, samples), CheckResidual(codec, samples), CheckRoundTrip(codec, samples),
          CheckTargets(codec, samples)};
}

std::vector<ControlFinding> CheckFeedback(const Compressor& codec) {
  // Small, so that one entry in 64 is not too few for the step size; or what the coarsest low-rank factors still make
  // smaller.
  const Shape shape = codec.Supports(Shape({8, 8})).ok() ? Shape({8, 8}) : Shape({12, 9});
  const Traits traits = codec.traits(shape);
  const Quadratic problem(shape);
  const Descent plain = Descend(problem, codec, {});
  std::vector<ControlFinding> findings;
  for (const ControlInfo& control : ControlTable()) {
    const absl::StatusOr<ControlOptions> options = ResolveControl({.method = control.method}, traits, codec.ToString());
    if (control.method == ControlMethod::kNone || !options.ok()) continue;
    const Descent descent = Descend(problem, codec, *options);
    const bool feedback = control.method == ControlMethod::kEf;
    if (!plain.status.ok() || !descent.status.ok()) {
      findings.push_back({control.name, Failed("feedback", (plain.status.ok() ? descent : plain).status.ToString())});
      continue;
    }
    if (feedback) {
      findings.push_back(
          {control.name,
           {.check = "owed",
            .passed = descent.unaccounted <= descent.tolerance,
            .detail = fmt::format("off by {:.2g}, rounding explains {:.2g}", descent.unaccounted, descent.tolerance)}});
    }
    const bool stalls = feedback || control.method == ControlMethod::kDgc;
    const double share = !stalls ? 0.1 : traits.deterministic ? 0.5 : 1.0;
    findings.push_back(
        {control.name,
         {.check = "feedback",
          .passed = descent.distance <= std::max(share * plain.distance, kFloatFloor),
          .detail = fmt::format("distance {:.2g}, {:.2g} without compensation", descent.distance, plain.distance)}});
  }
  return findings;
}

}  // namespace laconic::tools
