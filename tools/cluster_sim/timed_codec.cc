#include "tools/cluster_sim/timed_codec.h"

#include <utility>

namespace laconic::tools {
namespace {

struct Clock {
  CodecRates rates;
  std::function<void(double)> spend;

  void Encode(double elements) const { spend(sizeof(float) * elements / rates.encode_bytes_per_second); }
  void Decode(double elements) const { spend(sizeof(float) * elements / rates.decode_bytes_per_second); }
};

class TimedSession final : public LinearSession {
 public:
  TimedSession(std::unique_ptr<LinearSession> inner, const Clock& clock, double elements)
      : inner_(std::move(inner)), clock_(clock), elements_(elements) {}

  int rounds() const override { return inner_->rounds(); }
  size_t RoundFloats(int round) const override { return inner_->RoundFloats(round); }
  void Begin(const RngKey& step_key, std::span<float> residual) override { inner_->Begin(step_key, residual); }
  absl::Status Produce(int round, const Message& message, std::span<float> out) override {
    clock_.Encode(elements_ / rounds());
    return inner_->Produce(round, message, out);
  }
  absl::Status Consume(int round, std::span<const float> mean) override { return inner_->Consume(round, mean); }
  void LocalReconstruction(std::span<float> y) const override { inner_->LocalReconstruction(y); }
  void MeanReconstruction(std::span<float> y) const override { inner_->MeanReconstruction(y); }
  void Reconstruct(std::span<float> mean) override {
    clock_.Decode(elements_);
    inner_->Reconstruct(mean);
  }
  void Commit() override { inner_->Commit(); }
  void Save(StateWriter& out) const override { inner_->Save(out); }
  absl::Status Load(const StateReader& in) override { return inner_->Load(in); }

 private:
  std::unique_ptr<LinearSession> inner_;
  const Clock& clock_;
  double elements_;
};

class TimedCodec final : public Compressor {
 public:
  TimedCodec(std::shared_ptr<const Compressor> inner, Clock clock)
      : inner_(std::move(inner)), clock_(std::move(clock)) {}

  CodecId id() const override { return inner_->id(); }
  std::string ToString() const override { return inner_->ToString(); }
  Traits traits(const Shape& shape) const override { return inner_->traits(shape); }
  absl::Status Supports(const Shape& shape) const override { return inner_->Supports(shape); }
  size_t MaxBodyBytes(const Shape& shape) const override { return inner_->MaxBodyBytes(shape); }
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                std::span<std::byte> body) const override {
    clock_.Encode(static_cast<double>(shape.elements()));
    return inner_->Encode(x, shape, key, body);
  }
  absl::StatusOr<size_t> EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                        std::span<float> residual, std::span<std::byte> body) const override {
    clock_.Encode(static_cast<double>(shape.elements()));
    return inner_->EncodeResidual(message, shape, key, residual, body);
  }
  absl::Status DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                         std::span<float> acc) const override {
    clock_.Decode(static_cast<double>(shape.elements()));
    return inner_->DecodeAdd(body, shape, scale, acc);
  }
  std::unique_ptr<LinearSession> NewLinearSession(const Shape& shape, const RngKey& init) const override {
    std::unique_ptr<LinearSession> session = inner_->NewLinearSession(shape, init);
    if (session == nullptr) return nullptr;
    return std::make_unique<TimedSession>(std::move(session), clock_, static_cast<double>(shape.elements()));
  }

 private:
  std::shared_ptr<const Compressor> inner_;
  Clock clock_;
};

}  // namespace

std::shared_ptr<const Compressor> MakeTimedCodec(std::shared_ptr<const Compressor> inner, const CodecRates& rates,
                                                 std::function<void(double seconds)> spend) {
  return std::make_shared<TimedCodec>(std::move(inner), Clock{rates, std::move(spend)});
}

}  // namespace laconic::tools
