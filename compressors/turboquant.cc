#include "compressors/turboquant.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "compressors/checks.h"
#include "laconic/base/parallel.h"
#include "laconic/base/scratch.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr std::array<std::string_view, 3> kModes = {"mse", "unbiased", "qjl"};
constexpr size_t kKeyBytes = sizeof(uint64_t);
constexpr int kDraws = 256;  // of one block, at most
// g <= |r| / sqrt(P), and |z - c(z)| <= max(|z|, smallest codeword) makes that at most sqrt(1 + .64).
constexpr float kMaxResidualScale = 2;

// turboquant.h: draws of a wider angle than this are thrown away, and the variance of the others.
double LargestTan2(int bits) { return 2.5 * GaussianCodebookOf(bits).error_bound; }
double Omega(int bits) { return GaussianCodebookOf(bits).error_bound * (1 + LargestTan2(bits)); }

float ToFloat(double value) {  // the nearest float, at most the largest
  return static_cast<float>(std::min<double>(value, std::numeric_limits<float>::max()));
}

// size^(-rounds/2): what makes `rounds` transforms orthogonal.
float UnitOf(size_t size, size_t rounds) {
  const int halvings = std::countr_zero(size) * static_cast<int>(rounds);  // of the square
  return std::ldexp(halvings % 2 == 0 ? 1.0f : 0x1.6a09e6p-1f, -(halvings / 2));
}

}  // namespace

// The rotation of one block after another, and what lies in it. One thread at a time.
class TurboQuant::Worker {
 public:
  Worker(const TurboQuant& codec, uint64_t key, size_t coefficients)
      : options_(codec.options_),
        code_bits_(codec.code_bits()),
        rotations_(options_.rounds + (codec.is_qjl() ? 1 : 0)),
        key_(key),
        sign_words_(coefficients / 32 * rotations_) {}

  // The codes of x, whose squares sum to `squares` > 0, into `bytes`. rotated() is left with what they stand for.
  //   x: block.elements.   bytes: BlockBytes(block).
  BlockCode Encode(const Block& block, std::span<const float> x, double squares, std::span<std::byte> bytes);
  // What codes stand for, into rotated().
  void Decode(const Block& block, const BlockCode& code, std::span<const std::byte> bytes);

  // Turns rotated() back and gives the block's elements, to be taken at ScaleOf.
  std::span<const float> RotateBack(const Block& block);
  kernels::Scale ScaleOf(const Block& block, const BlockCode& code) const {
    return {.unit = UnitOf(block.size, options_.rounds), .scale = code.scale};
  }

 private:
  using Buffer = std::array<float, RotationBlocks::kMaxBlock>;

  std::span<float> rotated(const Block& block) { return std::span(rotated_).first(block.size); }
  std::span<uint8_t> codes(const Block& block) { return std::span(codes_).first(block.size); }
  const kernels::Codebook& codebook() const { return GaussianCodebookOf(code_bits_).levels; }
  size_t CodeBytes(const Block& block) const { return block.size / 8 * static_cast<size_t>(code_bits_); }

  // Draws the signs of rotations [from, rotations_): of draw after draw for all of the tensor, in each block after
  // block, and in each rotation after rotation.
  void DrawSigns(const Block& block, int draw, size_t from);
  std::span<const uint32_t> Signs(const Block& block, size_t rotation) const {
    return std::span(words_).subspan(block.size / 32 * rotation, block.size / 32);
  }
  void Rotate(const Block& block, std::span<const float> x, double root_mean_square);
  // The second stage of qjl: rotated() is rounded to the first stage's codes, and `bytes` get those and the signs.
  void EncodeResidual(const Block& block, BlockCode& code, std::span<std::byte> bytes);
  void AddResidual(const Block& block, float residual_scale, std::span<const std::byte> signs);

  const Options& options_;
  const int code_bits_;
  const size_t rotations_;  // the residual's included
  const uint64_t key_;
  const uint64_t sign_words_;  // of one draw
  std::array<uint32_t, RotationBlocks::kMaxBlock / 32 * (kMaxRounds + 1)> words_;
  std::array<uint8_t, RotationBlocks::kMaxBlock> codes_;
  alignas(64) Buffer rotated_, residual_, other_;
};

void TurboQuant::Worker::DrawSigns(const Block& block, int draw, size_t from) {
  const uint64_t first = static_cast<uint64_t>(draw) * sign_words_ + block.first / 32 * rotations_;
  const size_t per_rotation = block.size / 32;
  kernels::RandomWords(key_, first + from * per_rotation,
                       std::span(words_).subspan(from * per_rotation, (rotations_ - from) * per_rotation));
}

void TurboQuant::Worker::Rotate(const Block& block, std::span<const float> x, double root_mean_square) {
  if (block.elements < block.size) {
    const std::span<float> padded = std::span(other_).first(block.size);
    std::fill(std::copy(x.begin(), x.end(), padded.begin()), padded.end(), 0.0f);
    x = padded;
  }
  // Norms near the ends of float's range are brought away from them first.
  const double up = root_mean_square < 0x1p-64 ? 0x1p64 : root_mean_square > 0x1p64 ? 0x1p-64 : 1.0;
  const double steps = UnitOf(block.size, options_.rounds) / (root_mean_square * up);
  kernels::ScaleAndRotate(x, static_cast<float>(up), static_cast<float>(steps), Signs(block, 0), rotated(block));
  for (size_t round = 1; round < options_.rounds; ++round) kernels::Rotate(Signs(block, round), rotated(block));
}

std::span<const float> TurboQuant::Worker::RotateBack(const Block& block) {
  for (size_t round = options_.rounds; round-- > 0;) kernels::RotateBack(Signs(block, round), rotated(block));
  return rotated(block).first(block.elements);
}

TurboQuant::BlockCode TurboQuant::Worker::Encode(const Block& block, std::span<const float> x, double squares,
                                                 std::span<std::byte> bytes) {
  const auto size = static_cast<double>(block.size);
  const double root_mean_square = std::sqrt(squares / size);
  BlockCode code{.scale = ToFloat(root_mean_square)};
  if (code.scale == 0) {
    std::ranges::fill(bytes, std::byte{0});
    std::ranges::fill(rotated(block), 0.0f);
    return code;
  }
  for (int draw = 0; draw < kDraws; ++draw) {
    code.draw = static_cast<uint8_t>(draw);
    DrawSigns(block, draw, 0);
    Rotate(block, x, root_mean_square);
    if (options_.mode != Mode::kUnbiased) break;
    const kernels::Fit fit = kernels::RoundToCodebookAndFit(codebook(), rotated(block), codes(block));
    code.scale = ToFloat(root_mean_square * size / fit.inner);
    if (fit.squares * size <= (1 + LargestTan2(code_bits_)) * fit.inner * fit.inner) break;
  }
  if (options_.mode == Mode::kQjl) {
    EncodeResidual(block, code, bytes);
    return code;
  }
  if (options_.mode == Mode::kMse) kernels::RoundToCodebook(codebook(), rotated(block), codes(block));
  kernels::PackCodes(codes(block), code_bits_, bytes);
  return code;
}

void TurboQuant::Worker::EncodeResidual(const Block& block, BlockCode& code, std::span<std::byte> bytes) {
  const std::span<float> z = rotated(block), residual = std::span(residual_).first(block.size),
                         turned = std::span(other_).first(block.size);
  std::ranges::copy(z, residual.begin());
  if (code_bits_ == 0) {
    std::ranges::fill(z, 0.0f);
  } else {
    kernels::RoundToCodebook(codebook(), z, codes(block));
    kernels::ScaleAdd(z, -1, residual);
    kernels::PackCodes(codes(block), code_bits_, bytes.first(CodeBytes(block)));
  }
  const std::span<std::byte> signs = bytes.subspan(CodeBytes(block));
  const double squares = kernels::SumSquares(residual), size = static_cast<double>(block.size);
  for (int draw = 0; draw < kDraws; ++draw) {
    code.draw = static_cast<uint8_t>(draw);
    if (draw > 0) DrawSigns(block, draw, options_.rounds);
    std::ranges::copy(residual, turned.begin());
    kernels::Rotate(Signs(block, options_.rounds), turned);
    const double magnitudes = kernels::SumAbs(turned);
    code.residual_scale = magnitudes > 0 ? ToFloat(squares / magnitudes) : 0;
    // The angle between H S r, of squared norm P |r|^2, and its signs.
    if (squares * size * size <= (1 + LargestTan2(1)) * magnitudes * magnitudes) break;
  }
  kernels::PackSigns(turned, signs);
  AddResidual(block, code.residual_scale, signs);
}

void TurboQuant::Worker::AddResidual(const Block& block, float residual_scale, std::span<const std::byte> signs) {
  const std::span<float> estimate = std::span(other_).first(block.size);
  std::ranges::fill(estimate, 0.0f);
  kernels::AddSigned(signs, residual_scale, estimate);
  kernels::RotateBack(Signs(block, options_.rounds), estimate);
  kernels::ScaleAdd(estimate, 1, rotated(block));
}

void TurboQuant::Worker::Decode(const Block& block, const BlockCode& code, std::span<const std::byte> bytes) {
  DrawSigns(block, options_.mode == Mode::kUnbiased ? code.draw : 0, 0);
  if (code_bits_ == 0) {
    std::ranges::fill(rotated(block), 0.0f);
  } else {
    kernels::UnpackCodes(bytes.first(CodeBytes(block)), code_bits_, codes(block));
    kernels::LookUpCodebook(codebook(), codes(block), rotated(block));
  }
  if (options_.mode != Mode::kQjl) return;
  if (code.draw > 0) DrawSigns(block, code.draw, options_.rounds);
  AddResidual(block, code.residual_scale, bytes.subspan(CodeBytes(block)));
}

std::string TurboQuant::ToString() const {
  return fmt::format("turboquant(bits={}, mode={}, block={}, rounds={})", options_.bits,
                     kModes[static_cast<size_t>(options_.mode)], options_.block, options_.rounds);
}

Traits TurboQuant::traits(const Shape& shape) const {
  Traits traits;
  traits.fixed_size = true;
  switch (options_.mode) {
    case Mode::kMse:
      traits.delta = 1 - GaussianCodebookOf(options_.bits).error_bound;
      traits.suggested_eta = *traits.delta;
      break;
    case Mode::kUnbiased:
      if (options_.rounds > 1) traits.omega = Omega(options_.bits);  // one leaves a bias that can be seen
      break;
    case Mode::kQjl:
      traits.omega = Omega(1) * (code_bits() > 0 ? GaussianCodebookOf(code_bits()).error_bound : 1);
      break;
  }
  return traits;
}

TurboQuant::Layout TurboQuant::LayoutOf(const RotationBlocks& blocks) const {
  const size_t count = blocks.count();
  if (count == 0) return {};
  Layout layout{.scales = kKeyBytes};
  layout.draws = layout.scales + count * sizeof(float);
  layout.residual_scales = layout.draws + (options_.mode == Mode::kMse ? 0 : count);
  layout.codes = layout.residual_scales + (is_qjl() ? count * sizeof(float) : 0);
  layout.end = layout.codes + blocks.coefficients() / 8 * static_cast<size_t>(options_.bits);
  return layout;
}

size_t TurboQuant::MaxBodyBytes(const Shape& shape) const {
  return LayoutOf(RotationBlocks(shape.elements(), options_.block)).end;
}

absl::StatusOr<size_t> TurboQuant::EncodeBlocks(const Message& message, std::span<float> residual, const Shape& shape,
                                                const RngKey& key, std::span<std::byte> body) const {
  const RotationBlocks blocks(message.size(), options_.block);
  const Layout layout = LayoutOf(blocks);
  LACONIC_RETURN_IF_ERROR(CheckRoom("turboquant", body.size(), layout.end));
  if (layout.end == 0) return 0;
  const uint64_t derived_key = CounterRng(key).derived_key();
  std::memcpy(body.data(), &derived_key, kKeyBytes);
  std::atomic<bool> is_finite = true;
  ParallelFor(blocks.count(), blocks.Grain(), [&](size_t begin, size_t end) {
    MessageRuns runs(message, residual);
    Worker worker(*this, derived_key, blocks.coefficients());
    for (size_t b = begin; b < end; ++b) {
      const Block block = blocks.At(b);
      double squares = 0;
      const std::span<const float> x = runs.FormSumSquares(block.first, block.elements, squares);
      if (!std::isfinite(squares)) {
        is_finite = false;
        return;
      }
      const BlockCode code = worker.Encode(block, x, squares, CodesOf(block, layout, body));
      std::memcpy(&body[layout.scales + b * sizeof(float)], &code.scale, sizeof(float));
      if (options_.mode != Mode::kMse) body[layout.draws + b] = std::byte{code.draw};
      if (is_qjl()) {
        std::memcpy(&body[layout.residual_scales + b * sizeof(float)], &code.residual_scale, sizeof(float));
      }
      if (!residual.empty()) {
        kernels::SubtractScaled(x, worker.RotateBack(block), worker.ScaleOf(block, code), runs.sink());
      }
    }
  });
  if (!is_finite) return CheckFinite("turboquant", message);
  return layout.end;
}

absl::StatusOr<size_t> TurboQuant::Encode(std::span<const float> x, const Shape& shape, const RngKey& key,
                                          std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("turboquant", x.size(), shape));
  return EncodeBlocks(x, {}, shape, key, body);
}

absl::StatusOr<size_t> TurboQuant::EncodeResidual(const Message& message, const Shape& shape, const RngKey& key,
                                                  std::span<float> residual, std::span<std::byte> body) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("turboquant", message.size(), shape));
  LACONIC_RETURN_IF_ERROR(CheckFloats("turboquant", residual.size(), shape));
  return EncodeBlocks(message, residual, shape, key, body);
}

absl::Status TurboQuant::DecodeAdd(std::span<const std::byte> body, const Shape& shape, float scale,
                                   std::span<float> acc) const {
  LACONIC_RETURN_IF_ERROR(CheckFloats("turboquant", acc.size(), shape));
  const RotationBlocks blocks(acc.size(), options_.block);
  const Layout layout = LayoutOf(blocks);
  LACONIC_RETURN_IF_ERROR(CheckBodyBytes("turboquant", body.size(), layout.end));
  if (acc.empty()) return absl::OkStatus();
  const size_t count = blocks.count();
  uint64_t key = 0;
  std::memcpy(&key, body.data(), kKeyBytes);
  const std::span<float> scales = Scratch<float>(ScratchUse::kValues, count * (is_qjl() ? 2 : 1));
  const std::span<float> residual_scales = scales.subspan(count);
  std::memcpy(scales.data(), &body[layout.scales], count * sizeof(float));
  if (is_qjl()) std::memcpy(residual_scales.data(), &body[layout.residual_scales], count * sizeof(float));
  LACONIC_RETURN_IF_ERROR(CheckScales("turboquant", scales.first(count)));
  for (size_t b = 0; b < residual_scales.size(); ++b) {
    if (residual_scales[b] >= 0 && residual_scales[b] <= kMaxResidualScale) continue;
    return absl::DataLossError(fmt::format("turboquant body: residual scale of block {} is {}, expected 0..{}", b,
                                           residual_scales[b], kMaxResidualScale));
  }
  ParallelFor(count, blocks.Grain(), [&](size_t begin, size_t end) {
    Worker worker(*this, key, blocks.coefficients());
    for (size_t b = begin; b < end; ++b) {
      if (scales[b] == 0) continue;
      const Block block = blocks.At(b);
      BlockCode code{.scale = scales[b]};
      if (options_.mode != Mode::kMse) code.draw = std::to_integer<uint8_t>(body[layout.draws + b]);
      if (is_qjl()) code.residual_scale = residual_scales[b];
      worker.Decode(block, code, CodesOf(block, layout, body));
      kernels::AddScaled(worker.RotateBack(block), worker.ScaleOf(block, code), scale,
                         acc.subspan(block.first, block.elements));
    }
  });
  return absl::OkStatus();
}

}  // namespace laconic::internal

namespace laconic {

CodecInfo TurboQuantInfo() {
  std::vector<ParameterInfo> parameters = {
      {"bits", "1..8", "4", "bits an element"},
      {"mode", "mse|unbiased|qjl", "mse",
       "mse errs least; unbiased scales up so that means are right; qjl spends one of the bits on the residual's "
       "signs"},
      {"block", "64|128|256|512|1024|2048|4096", "1024", "elements that are rotated together and share a scale"},
      {"rounds", "1..4", "2", "rotations: one is enough for dense tensors, two for any"},
  };
  return {
      .name = "turboquant",
      .id = CodecId::kTurboQuant,
      .summary = "random rotation, then the best scalar quantiser for normal values: 1 to 8 bits an element, any data",
      .source = "Zandieh, Daliri, Hadian and Mirrokni 2025, arXiv:2504.19874; Vargaftik et al. 2022, arXiv:2108.08842",
      .parameters = parameters,
      .create = [parameters](const SpecCall& call,
                             const CodecRegistry&) -> absl::StatusOr<std::shared_ptr<const Compressor>> {
        using internal::RotationBlocks, internal::TurboQuant;
        static constexpr std::array<std::string_view, 7> kBlocks = {"64", "128", "256", "512", "1024", "2048", "4096"};
        TurboQuant::Options options;
        SpecArguments arguments(call, parameters);
        options.bits = static_cast<int>(arguments.Integer("bits", options.bits, 1, 8));
        const std::string mode = arguments.Word("mode", internal::kModes[0], internal::kModes);
        options.mode =
            static_cast<TurboQuant::Mode>(std::ranges::find(internal::kModes, mode) - internal::kModes.begin());
        const std::string block = arguments.Word("block", std::to_string(options.block), kBlocks);
        options.block = RotationBlocks::kMinBlock << (std::ranges::find(kBlocks, block) - kBlocks.begin());
        options.rounds = static_cast<size_t>(
            arguments.Integer("rounds", static_cast<int64_t>(options.rounds), 1, TurboQuant::kMaxRounds));
        LACONIC_RETURN_IF_ERROR(arguments.Finish());
        return std::make_shared<const TurboQuant>(options);
      },
      .examples = {"turboquant", "turboquant(bits=1)", "turboquant(bits=2, block=256)", "turboquant(bits=3, rounds=1)",
                   "turboquant(bits=8, rounds=3)", "turboquant(bits=1, mode=unbiased)",
                   "turboquant(bits=4, mode=unbiased, block=64)", "turboquant(bits=5, mode=unbiased)",
                   "turboquant(bits=1, mode=qjl)", "turboquant(bits=3, mode=qjl, block=128)"},
  };
}

}  // namespace laconic
