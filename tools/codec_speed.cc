#include "tools/codec_speed.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>

#include "laconic/base/parallel.h"
#include "laconic/base/status.h"
#include "laconic/compressors/message.h"

namespace laconic::tools {
namespace {

// An array of its own pages, huge ones where the system has them, all touched. Every array of a measurement is one,
// memcpy's too.
class Pages {
 public:
  explicit Pages(size_t bytes) : bytes_(std::max<size_t>(bytes, 1)) {
    data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) throw std::bad_alloc();
    ::madvise(data_, bytes_, MADV_HUGEPAGE);
    std::memset(data_, 0, bytes_);
  }
  ~Pages() { ::munmap(data_, bytes_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  std::span<float> floats(size_t count) { return {static_cast<float*>(data_), count}; }
  std::span<std::byte> bytes() { return {static_cast<std::byte*>(data_), bytes_}; }

 private:
  void* data_;
  size_t bytes_;
};

constexpr size_t kGrain =
    size_t{1} << 18;  // elements that one thread copies or reads at a time, where there are several

void Copy(std::span<const float> from, std::span<float> to) {
  ParallelFor(from.size(), kGrain, [&](size_t begin, size_t end) {
    std::memcpy(to.data() + begin, from.data() + begin, (end - begin) * sizeof(float));
  });
}

// Reads every element once, as fast as one thread can.
float Sum(std::span<const float> x) {
  constexpr size_t kLanes = 64;
  float sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += x[i + lane];
  }
  for (; i < x.size(); ++i) sums[0] += x[i];
  float total = 0;
  for (float sum : sums) total += sum;
  return total;
}

// Runs `body` and gives the seconds it took, or its error.
absl::StatusOr<double> Timed(const std::function<absl::Status()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  LACONIC_RETURN_IF_ERROR(body());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// One rank's part of a step of strategy `linear`, the transport left out: what it sends is the mean.
class SessionStep {
 public:
  SessionStep(const Compressor& codec, const Shape& shape, const RngKey& key)
      : key_(key.Shared()), session_(codec.NewLinearSession(shape, key_)) {
    if (session_ == nullptr) return;
    size_t largest = 0;
    for (int round = 0; round < session_->rounds(); ++round) largest = std::max(largest, session_->RoundFloats(round));
    round_.resize(largest);
  }

  bool exists() const { return session_ != nullptr; }
  size_t sent_bytes() const {
    size_t floats = 0;
    for (int round = 0; round < session_->rounds(); ++round) floats += session_->RoundFloats(round);
    return floats * sizeof(float);
  }

  absl::Status Run(const Message& message, std::span<float> residual, std::span<float> mean) {
    session_->Begin(key_, residual);
    for (int round = 0; round < session_->rounds(); ++round) {
      const std::span<float> floats = std::span(round_).first(session_->RoundFloats(round));
      LACONIC_RETURN_IF_ERROR(session_->Produce(round, message, floats));
      LACONIC_RETURN_IF_ERROR(session_->Consume(round, floats));
    }
    session_->Reconstruct(mean);
    session_->Commit();
    return absl::OkStatus();
  }

 private:
  RngKey key_;
  std::unique_ptr<LinearSession> session_;
  std::vector<float> round_;
};

double Norm(std::span<const float> x) {
  double sum = 0;
  for (float value : x) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

}  // namespace

double CodecSpeed::BytesPerSecond(std::span<const double> seconds) const {
  return seconds.empty() ? 0 : static_cast<double>(elements) * sizeof(float) / Median(seconds);
}

absl::StatusOr<CodecSpeed> MeasureCodec(const Compressor& codec, const Shape& shape, std::span<const float> x,
                                        const MeasureOptions& options) {
  const size_t count = x.size(), bytes = count * sizeof(float);
  LACONIC_RETURN_IF_ERROR(codec.Supports(shape));
  Pages gradient(bytes), error_pages(bytes), residual_pages(bytes), mean(bytes), body_pages(codec.MaxBodyBytes(shape));
  std::memcpy(gradient.bytes().data(), x.data(), bytes);
  std::span<float> error = error_pages.floats(count), residual = residual_pages.floats(count);
  const RngKey key{.seed = options.seed};
  SessionStep session(codec, shape, key);
  CodecSpeed speed{.elements = count};
  size_t body_bytes = 0;
  std::vector<float> sums(count / kGrain + 1);
  WorkerPool pool(options.threads);
  const ParallelScope scope(options.threads > 1 ? &pool : nullptr);

  struct Operation {
    std::vector<double>* seconds;
    std::function<absl::Status()> run;
  };
  std::vector<Operation> operations = {
      {&speed.memcpy,
       [&] {
         Copy(gradient.floats(count), mean.floats(count));
         return absl::OkStatus();
       }},
      {&speed.read,
       [&] {
         const std::span<const float> all = gradient.floats(count);
         ParallelFor(count, kGrain,
                     [&](size_t begin, size_t end) { sums[begin / kGrain] = Sum(all.subspan(begin, end - begin)); });
         return absl::OkStatus();
       }},
      {&speed.encode,
       [&] {
         const absl::StatusOr<size_t> written = codec.Encode(gradient.floats(count), shape, key, body_pages.bytes());
         if (written.ok()) body_bytes = *written;
         return written.status();
       }},
      {&speed.decode_add,
       [&] { return codec.DecodeAdd(body_pages.bytes().first(body_bytes), shape, 0.5f, mean.floats(count)); }},
      {&speed.encode_residual,  // the residual becomes the next step's error, as in ErrorControl::Commit
       [&] {
         Message message(gradient.floats(count));
         message.error = error;
         const absl::StatusOr<size_t> written = codec.EncodeResidual(message, shape, key, residual, body_pages.bytes());
         std::swap(error, residual);
         return written.status();
       }},
  };
  if (session.exists()) {
    operations.push_back({&speed.session, [&] {
                            Message message(gradient.floats(count));
                            message.error = error;
                            const absl::Status status = session.Run(message, residual, mean.floats(count));
                            std::swap(error, residual);
                            return status;
                          }});
  }
  for (int rotation = -options.warmup; rotation < options.repetitions; ++rotation) {
    for (const Operation& operation : operations) {
      LACONIC_ASSIGN_OR_RETURN(const double seconds, Timed(operation.run));
      if (rotation >= 0) operation.seconds->push_back(seconds);
    }
  }

  speed.sum = Sum(sums);  // so that nobody may leave the reading out

  // |x - C(x)| of one plain step.
  LACONIC_ASSIGN_OR_RETURN(speed.body_bytes, codec.EncodeResidual(Message(gradient.floats(count)), shape, key, residual,
                                                                  body_pages.bytes()));
  const double norm = Norm(x);
  speed.relative_error = norm > 0 ? Norm(residual) / norm : 0;
  if (session.exists()) speed.session_bytes = session.sent_bytes();
  return speed;
}

}  // namespace laconic::tools
