#include "compressors/scaled.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "compressors/checks.h"
#include "compressors/kernels/kernels.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

// Forwards everything and scales what comes out.
class ScaledSession final : public LinearSession {
 public:
  ScaledSession(std::unique_ptr<LinearSession> inner, float factor) : inner_(std::move(inner)), factor_(factor) {}

  int rounds() const override { return inner_->rounds(); }
  size_t RoundFloats(int round) const override { return inner_->RoundFloats(round); }
  void Begin(const RngKey& step_key, std::span<float> residual) override {
    residual_ = residual;
    inner_->Begin(step_key, residual);
  }
  absl::Status Produce(int round, const Message& message, std::span<float> out) override {
    return inner_->Produce(round, message, out);
  }
  absl::Status Consume(int round, std::span<const float> mean) override { return inner_->Consume(round, mean); }
  void LocalReconstruction(std::span<float> y) const override {
    inner_->LocalReconstruction(y);
    Scale(y);
  }
  void MeanReconstruction(std::span<float> y) const override {
    inner_->MeanReconstruction(y);
    Scale(y);
  }
  void Reconstruct(std::span<float> mean) override {
    if (!residual_.empty()) {  // not the inner session's Reconstruct, which would subtract the unscaled
      LocalReconstruction(mean);
      kernels::ScaleAdd(mean, -1.0f, residual_);
    }
    MeanReconstruction(mean);
  }
  void Commit() override { inner_->Commit(); }
  void Save(StateWriter& out) const override { inner_->Save(out); }
  absl::Status Load(const StateReader& in) override { return inner_->Load(in); }

 private:
  void Scale(std::span<float> y) const {
    for (float& value : y) value *= factor_;
  }

  std::unique_ptr<LinearSession> inner_;
  float factor_;
  std::span<float> residual_;  // the message until Reconstruct; or empty
};

std::string Refusal(const Compressor& inner) {
  return fmt::format(
      "scaled needs an unbiased codec and {} claims no omega: try scaled(quantize(rounding=stochastic)), "
      "scaled(natural) or scaled(randk(ratio=0.1, scale=unbiased))",
      inner.ToString());
}

}  // namespace

Traits Scaled::traits(const Shape& shape) const {
  Traits traits = inner_->traits(shape);
  if (traits.omega.has_value()) {
    traits.delta = 1 / (1 + *traits.omega);
    traits.suggested_eta = std::min(traits.suggested_eta, *traits.delta);
  }
  if (traits.omega != 0) traits.omega.reset();  // scaled down, it is biased
  return traits;
}

absl::Status Scaled::Supports(const Shape& shape) const {
  LACONIC_RETURN_IF_ERROR(inner_->Supports(shape));
  if (inner_->traits(shape).omega.has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{} (shape {})", Refusal(*inner_), shape.ToString()));
}

float Scaled::Factor(const Shape& shape) const {
  return static_cast<float>(1 / (1 + inner_->traits(shape).omega.value_or(0)));
}

absl::Status Scaled::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                               std::span<float> acc) const {
  const float factor = Factor(shape);
  if (factor == 1) return inner_->DecodeAdd(body, shape, scale, acc);
  LACONIC_RETURN_IF_ERROR(CheckFloats("scaled", acc.size(), shape));
  // By way of the decoded values: scale times factor in one would be another rounding than `scale` times what is
  // decoded.
  const LeasedScratch<float> lease(acc.size());
  const std::span<float> decoded = lease.span();
  std::fill(decoded.begin(), decoded.end(), 0.0f);
  LACONIC_RETURN_IF_ERROR(inner_->DecodeAdd(body, shape, factor, decoded));
  kernels::ScaleAdd(decoded, scale, acc);
  return absl::OkStatus();
}

std::unique_ptr<LinearSession> Scaled::NewLinearSession(const Shape& shape, const RngKey& init) const {
  std::unique_ptr<LinearSession> session = inner_->NewLinearSession(shape, init);
  if (session == nullptr) return nullptr;
  return std::make_unique<ScaledSession>(std::move(session), Factor(shape));
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo ScaledInfo() {
  std::vector<ParameterInfo> parameters = {
      {"codec", "an unbiased codec", "", "what to scale, such as scaled(natural); its key may be left out"},
  };
  return {
      .name = "scaled",
      .id = CodecId{},
      .summary =
          "an unbiased codec divided by 1 + omega: contractive with delta = 1/(1+omega), for methods that need it",
      .source = "Richtarik, Sokolov and Fatkhullin 2021, arXiv:2106.05203",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry& registry) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        SpecArguments arguments(call, parameters);
        std::vector<const SpecCall*> inner_calls = arguments.Positional();
        if (const SpecCall* by_key = arguments.Call("codec"); by_key != nullptr) inner_calls.push_back(by_key);
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        if (inner_calls.size() != 1) {
          return SpecError(call.column,
                           fmt::format("scaled takes one codec, such as scaled(natural), not {}", inner_calls.size()));
        }
        LACONIC_ASSIGN_OR_RETURN(std::shared_ptr<const Compressor> inner, registry.Create(*inner_calls.front()));
        // Whether a codec is unbiased may depend on the shape; one that never is gives itself away on any.
        if (!inner->traits(Shape({64, 64})).omega.has_value()) {
          return SpecError(inner_calls.front()->column, internal::Refusal(*inner));
        }
        return std::make_shared<const internal::Scaled>(std::move(inner));
      },
      .examples = {"scaled(natural)", "scaled(quantize(bits=2, rounding=stochastic))",
                   "scaled(randk(ratio=0.1, scale=unbiased))", "scaled(entropy(natural))"},
  };
}

}  // namespace laconic
