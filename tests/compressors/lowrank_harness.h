// What the tests of low-rank share: matrices of known spectra, bodies by hand, and steps of several ranks.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "compressors/lowrank.h"
#include "compressors/lowrank_session.h"
#include "compressors/matrix.h"
#include "laconic/base/parallel.h"

namespace laconic::internal {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline std::vector<float> Random(size_t count, uint64_t seed) {
  std::vector<float> values(count);
  FillNearlyNormal(CounterRng(RngKey{.seed = seed}), 0, values);
  return values;
}

// P Q^T, row-major, by its definition: the sum over k from +0 in the order of k.
inline std::vector<float> Product(size_t rows, size_t cols, std::span<const float> p, std::span<const float> q) {
  std::vector<float> m(rows * cols);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < cols; ++j) {
      for (size_t k = 0; k < p.size() / rows; ++k) m[i * cols + j] += p[k * rows + i] * q[k * cols + j];
    }
  }
  return m;
}

inline double SquaredNorm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * value;
  return sum;
}

inline double RelativeError(std::span<const float> y, std::span<const float> x) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = static_cast<double>(y[i]) - x[i];
    sum += difference * difference;
  }
  return std::sqrt(sum / SquaredNorm(x));
}

inline std::vector<float> Orthonormal(size_t rows, size_t count, uint64_t seed) {
  std::vector<float> columns = Random(rows * count, seed);
  Orthonormalize(columns, rows, CounterRng(RngKey{.seed = seed + 1}), 0);
  return columns;
}

// U diag(singular) V^T with random orthonormal U (rows x rank) and V (cols x rank).
inline std::vector<float> WithSpectrum(size_t rows, size_t cols, const std::vector<double>& singular, uint64_t seed) {
  std::vector<float> u = Orthonormal(rows, singular.size(), seed);
  const std::vector<float> v = Orthonormal(cols, singular.size(), seed + 2);
  for (size_t i = 0; i < u.size(); ++i) u[i] = static_cast<float>(u[i] * singular[i / rows]);
  return Product(rows, cols, u, v);
}

inline std::vector<double> Geometric(double ratio, size_t count) {
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = std::pow(ratio, static_cast<double>(i));
  return values;
}

inline std::vector<float> Decode(const Compressor& codec, const Shape& shape, std::span<const std::byte> body) {
  std::vector<float> y(shape.elements());
  EXPECT_EQ(codec.DecodeAdd(body, shape, 1.0f, y), absl::OkStatus());
  return y;
}

inline std::vector<float> RoundTrip(const Compressor& codec, const Shape& shape, std::span<const float> x,
                                    uint64_t seed = 1) {
  std::vector<std::byte> body(codec.MaxBodyBytes(shape));
  const auto written = codec.Encode(x, shape, RngKey{.seed = seed}, body);
  EXPECT_TRUE(written.ok()) << written.status();
  return Decode(codec, shape, body);
}

// Bodies of factors chosen by hand.
inline std::vector<std::byte> BodyOf(std::vector<float> p_then_q) {
  std::vector<std::byte> body(p_then_q.size() * sizeof(float));
  std::memcpy(body.data(), p_then_q.data(), body.size());
  return body;
}

// One committed step of all ranks' sessions on their messages, as a collective would run it; the mean reconstruction.
inline std::vector<float> Step(std::vector<LowRankSession>& ranks, const std::vector<std::vector<float>>& messages,
                               uint64_t step, bool commit = true) {
  for (LowRankSession& rank : ranks) rank.Begin(RngKey{.seed = 3, .step = step}, {});
  for (int round = 0; round < 2; ++round) {
    std::vector<float> mean(ranks[0].RoundFloats(round));
    std::vector<float> out(mean.size());
    for (size_t i = 0; i < ranks.size(); ++i) {
      EXPECT_EQ(ranks[i].Produce(round, messages[i], out), absl::OkStatus());
      for (size_t j = 0; j < out.size(); ++j) mean[j] += out[j] / static_cast<float>(ranks.size());
    }
    for (LowRankSession& rank : ranks) EXPECT_EQ(rank.Consume(round, mean), absl::OkStatus());
  }
  std::vector<float> y(messages[0].size());
  ranks[0].MeanReconstruction(y);
  for (LowRankSession& rank : ranks) {
    if (commit) rank.Commit();
  }
  return y;
}

inline std::vector<float> StepAlone(LowRankSession& session, const std::vector<float>& message, uint64_t step,
                                    bool commit = true) {
  std::vector<LowRankSession> one = {session};
  std::vector<float> y = Step(one, {message}, step, commit);
  session = one[0];
  return y;
}

inline std::vector<float> WarmStart(const LowRankSession& session) {
  StateArchive archive;
  StateWriter writer(&archive);
  session.Save(writer);
  const auto floats = StateReader(&archive).Floats("warm_start").value();
  return {floats.begin(), floats.end()};
}

inline constexpr RngKey kInit = {.seed = 11, .tensor = 2};

}  // namespace laconic::internal
