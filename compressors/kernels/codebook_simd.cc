// Codebooks of few levels, and values under two factors.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compressors/kernels/codebook_simd.cc"
#include "hwy/foreach_target.h"
// Below foreach_target.h, which must come first.
#include "compressors/kernels/reduce-inl.h"
#include "compressors/kernels/rotation_scalar.h"
#include "compressors/kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace laconic::kernels::HWY_NAMESPACE {
#if LACONIC_PORTABLE_TARGET
using namespace scalar;
#else

using Integers = hn::RebindToSigned<Floats>;
using IntegerVector = hn::Vec<Integers>;

// Floats of given indices. Up to kSize of them stand in registers, more are gathered (kSize = 0).
template <size_t kSize>
class Table {
 public:
  HWY_INLINE explicit Table(std::span<const float> floats) : all_(floats.data()) {
    if constexpr (kSize > 0) {
      alignas(64) float lanes[kSize + kLanes] = {};
      std::memcpy(lanes, floats.data(), floats.size_bytes());
      low_ = hn::Load(Floats(), lanes);
      if constexpr (kSize > kLanes) high_ = hn::Load(Floats(), lanes + kLanes);
    }
  }
  HWY_INLINE FloatVector Of(IntegerVector index) const {
    if constexpr (kSize == 0) {
      return hn::GatherIndex(Floats(), all_, index);
    } else if constexpr (kSize <= kLanes) {
      return hn::TableLookupLanes(low_, hn::IndicesFromVec(Floats(), index));
    } else {
      const auto is_low = hn::Lt(index, hn::Set(Integers(), static_cast<int32_t>(kLanes)));
      const auto lane = hn::IndicesFromVec(Floats(), hn::And(index, hn::Set(Integers(), int32_t{kLanes - 1})));
      return hn::IfThenElse(hn::RebindMask(Floats(), is_low), hn::TableLookupLanes(low_, lane),
                            hn::TableLookupLanes(high_, lane));
    }
  }

 private:
  const float* all_;
  FloatVector low_, high_;
};

// The ranks of magnitudes, by comparing with each of kBoundaries boundaries.
template <size_t kBoundaries>
class ComparedRanks {
 public:
  HWY_INLINE explicit ComparedRanks(const Codebook& codebook) {
    for (size_t j = 0; j < kBoundaries; ++j) boundaries_[j] = hn::Set(Floats(), codebook.boundaries[j]);
  }
  HWY_INLINE IntegerVector Of(FloatVector magnitude) const {
    auto rank = hn::Zero(Integers());
    for (size_t j = 0; j < kBoundaries; ++j) rank = hn::Sub(rank, Above(magnitude, boundaries_[j]));
    return rank;
  }
  // -1 where magnitude > boundary, else 0.
  static HWY_INLINE IntegerVector Above(FloatVector magnitude, FloatVector boundary) {
    return hn::VecFromMask(Integers(), hn::RebindMask(Integers(), hn::Gt(magnitude, boundary)));
  }

 private:
  FloatVector boundaries_[kBoundaries + 1];
};

// The same by cells. Up to kSize of them stand in registers, more are gathered (kSize = 0).
template <size_t kSize>
class CellRanks {
 public:
  HWY_INLINE explicit CellRanks(const Codebook& codebook)
      : boundaries_(codebook.cell_boundaries),
        ranks_(codebook.cell_ranks.data()),
        cells_per_unit_(hn::Set(Floats(), codebook.cells_per_unit)),
        last_(hn::Set(Floats(), static_cast<float>(codebook.cell_ranks.size() - 1))) {
    if constexpr (kSize > 0) {
      alignas(64) int32_t ranks[kLanes] = {};
      std::memcpy(ranks, codebook.cell_ranks.data(), codebook.cell_ranks.size_bytes());
      held_ranks_ = hn::Load(Integers(), ranks);
    }
  }
  HWY_INLINE IntegerVector Of(FloatVector magnitude) const {
    // Adding 2^23 rounds to an integer and leaves it in the low bits of the mantissa.
    const auto rounded = hn::Add(hn::Min(hn::Mul(magnitude, cells_per_unit_), last_), hn::Set(Floats(), 0x1p23f));
    const auto cell = hn::And(hn::BitCast(Integers(), rounded), hn::Set(Integers(), 0xffff));
    if constexpr (kSize > 0) {
      const auto rank = hn::TableLookupLanes(held_ranks_, hn::IndicesFromVec(Integers(), cell));
      return hn::Sub(rank, ComparedRanks<1>::Above(magnitude, boundaries_.Of(cell)));
    } else {
      const auto rank = hn::GatherIndex(Integers(), ranks_, cell);
      return hn::Sub(rank, ComparedRanks<1>::Above(magnitude, boundaries_.Of(cell)));
    }
  }

 private:
  Table<kSize> boundaries_;
  const int32_t* ranks_;
  IntegerVector held_ranks_;
  FloatVector cells_per_unit_, last_;
};

// Sums of z c and c^2 in sixteen doubles each.
class FitSums {
 public:
  HWY_INLINE FitSums() {
    for (size_t k = 0; k < 2 * kVectors; ++k) inner_[k] = squares_[k] = hn::Zero(Doubles());
  }
  HWY_INLINE void Add(size_t index, FloatVector z, FloatVector c) {
    const hn::Half<Floats> half;
    const auto z_low = hn::PromoteTo(Doubles(), hn::LowerHalf(half, z));
    const auto z_high = hn::PromoteTo(Doubles(), hn::UpperHalf(half, z));
    const auto c_low = hn::PromoteTo(Doubles(), hn::LowerHalf(half, c));
    const auto c_high = hn::PromoteTo(Doubles(), hn::UpperHalf(half, c));
    // Products of floats are exact in double, so that a fused addition rounds alike.
    inner_[2 * index] = hn::MulAdd(z_low, c_low, inner_[2 * index]);
    inner_[2 * index + 1] = hn::MulAdd(z_high, c_high, inner_[2 * index + 1]);
    squares_[2 * index] = hn::MulAdd(c_low, c_low, squares_[2 * index]);
    squares_[2 * index + 1] = hn::MulAdd(c_high, c_high, squares_[2 * index + 1]);
  }
  HWY_INLINE Fit Result() const { return {.inner = Total(inner_), .squares = Total(squares_)}; }

 private:
  static HWY_INLINE double Total(const DoubleVector (&partials)[2 * kVectors]) {
    alignas(64) double lanes[kLine];
    for (size_t k = 0; k < 2 * kVectors; ++k) hn::Store(partials[k], Doubles(), lanes + k * kLanes / 2);
    for (size_t step = kLine / 2; step > 0; step /= 2) {
      for (size_t j = 0; j < step; ++j) lanes[j] += lanes[j + step];
    }
    return lanes[0];
  }

  DoubleVector inner_[2 * kVectors], squares_[2 * kVectors];
};

struct NoFit {
  HWY_INLINE void Add(size_t, FloatVector, FloatVector) {}
};

// Whole lines; gives the number of elements done.
template <typename Ranks, typename Codewords, typename Sums>
HWY_INLINE size_t RoundLines(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes, Sums& sums) {
  const hn::Rebind<uint8_t, Integers> bytes;
  const Ranks ranks(codebook);
  const Codewords codewords(codebook.codewords);
  // The sign bit comes down to the bit above the ranks.
  const int to_code = 31 - std::countr_zero(codebook.sign_code());
  size_t i = 0;
  for (; i + kLine <= z.size(); i += kLine) {
    for (size_t k = 0; k < kVectors; ++k) {
      const size_t at = i + k * kLanes;
      const auto x = hn::LoadU(Floats(), z.data() + at);
      const auto sign = SignBits(x);
      const auto rank = ranks.Of(hn::Abs(x));
      const auto c = hn::Or(codewords.Of(rank), sign);
      const auto sign_code = hn::ShiftRightSame(hn::BitCast(Words(), sign), to_code);
      hn::StoreU(hn::TruncateTo(bytes, hn::Or(hn::BitCast(Words(), rank), sign_code)), bytes, codes.data() + at);
      hn::StoreU(c, Floats(), z.data() + at);
      sums.Add(k, x, c);
    }
  }
  return i;
}

template <typename Sums>
HWY_INLINE size_t RoundLines(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes, Sums& sums) {
  switch (codebook.codewords.size()) {
    case 1:
      return RoundLines<ComparedRanks<0>, Table<kLanes> >(codebook, z, codes, sums);
    case 2:
      return RoundLines<ComparedRanks<1>, Table<kLanes> >(codebook, z, codes, sums);
    case 4:
      return RoundLines<ComparedRanks<3>, Table<kLanes> >(codebook, z, codes, sums);
    case 8:
      if constexpr (kLanes >= 16) {
        if (codebook.cell_ranks.size() <= kLanes)
          return RoundLines<CellRanks<kLanes>, Table<kLanes> >(codebook, z, codes, sums);
      }
      return RoundLines<ComparedRanks<7>, Table<std::max<size_t>(kLanes, 8)> >(codebook, z, codes, sums);
    default:
      return RoundLines<CellRanks<0>, Table<0> >(codebook, z, codes, sums);
  }
}

void RoundToCodebook(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes) {
  NoFit sums;
  const size_t done = RoundLines(codebook, z, codes, sums);
  if (done < z.size()) scalar::RoundToCodebook(codebook, z.subspan(done), codes.subspan(done));
}

Fit RoundToCodebookAndFit(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes) {
  if (z.size() % kLine != 0) return scalar::RoundToCodebookAndFit(codebook, z, codes);
  FitSums sums;
  RoundLines(codebook, z, codes, sums);
  return sums.Result();
}

template <size_t kSize>
HWY_INLINE size_t LookUpLines(const Codebook& codebook, std::span<const uint8_t> codes, std::span<float> z) {
  const hn::Rebind<uint8_t, Integers> bytes;
  const Table<kSize> codewords(codebook.codewords);
  const auto rank_bits = hn::Set(Integers(), static_cast<int32_t>(codebook.sign_code()) - 1);
  const int to_sign = 31 - std::countr_zero(codebook.sign_code());
  size_t i = 0;
  for (; i + kLine <= z.size(); i += kLine) {
    for (size_t j = i; j < i + kLine; j += kLanes) {
      const auto code = hn::PromoteTo(Integers(), hn::LoadU(bytes, codes.data() + j));
      const auto sign = SignBits(hn::BitCast(Floats(), hn::ShiftLeftSame(code, to_sign)));
      hn::StoreU(hn::Or(codewords.Of(hn::And(code, rank_bits)), sign), Floats(), z.data() + j);
    }
  }
  return i;
}

void LookUpCodebook(const Codebook& codebook, std::span<const uint8_t> codes, std::span<float> z) {
  constexpr size_t kEight = std::max<size_t>(kLanes, 8);
  size_t done = 0;
  if (codebook.codewords.size() <= kLanes) {
    done = LookUpLines<kLanes>(codebook, codes, z);
  } else if (codebook.codewords.size() <= kEight) {
    done = LookUpLines<kEight>(codebook, codes, z);
  } else {
    done = LookUpLines<0>(codebook, codes, z);
  }
  if (done < z.size()) scalar::LookUpCodebook(codebook, codes.subspan(done), z.subspan(done));
}

class ScaledValues {
 public:
  HWY_INLINE explicit ScaledValues(const Scale& scale)
      : unit_(hn::Set(Floats(), scale.unit)),
        scale_(hn::Set(Floats(), scale.scale)),
        most_(hn::Set(Floats(), 0x1.fffffep127f)),
        least_(hn::Set(Floats(), -0x1.fffffep127f)) {}
  HWY_INLINE FloatVector Of(const float* v) const {
    const auto value = hn::Mul(hn::Mul(hn::LoadU(Floats(), v), unit_), scale_);
    return hn::Min(hn::Max(value, least_), most_);
  }

 private:
  FloatVector unit_, scale_, most_, least_;
};

void SubtractScaled(std::span<const float> x, std::span<const float> v, const Scale& scale, const Sink& sink) {
  const ScaledValues values(scale);
  const size_t done = ForEachLine(sink, [&](size_t i, auto store) HWY_ATTR {
    for (size_t k = 0; k < kVectors; ++k) {
      const size_t at = i + k * kLanes;
      store(k, hn::Sub(hn::LoadU(Floats(), x.data() + at), values.Of(v.data() + at)));
    }
  });
  if (done < x.size()) scalar::SubtractScaled(x.subspan(done), v.subspan(done), scale, RestOf(sink, done));
}

void AddScaled(std::span<const float> v, const Scale& scale, float weight, std::span<float> acc) {
  const ScaledValues values(scale);
  const auto weights = hn::Set(Floats(), weight);
  size_t i = 0;
  for (; i + kLine <= acc.size(); i += kLine) {
    hwy::Prefetch(acc.data() + i + 16 * kFetchDistance);
    for (size_t j = i; j < i + kLine; j += kLanes) {
      const auto sum = hn::Add(hn::LoadU(Floats(), acc.data() + j), hn::Mul(weights, values.Of(v.data() + j)));
      hn::StoreU(sum, Floats(), acc.data() + j);
    }
  }
  if (i < acc.size()) scalar::AddScaled(v.subspan(i), scale, weight, acc.subspan(i));
}

#endif  // LACONIC_PORTABLE_TARGET
}  // namespace laconic::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace laconic::kernels {

HWY_EXPORT(RoundToCodebook);
void RoundToCodebook(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes) {
  HWY_DYNAMIC_DISPATCH(RoundToCodebook)(codebook, z, codes);
}

HWY_EXPORT(RoundToCodebookAndFit);
Fit RoundToCodebookAndFit(const Codebook& codebook, std::span<float> z, std::span<uint8_t> codes) {
  return HWY_DYNAMIC_DISPATCH(RoundToCodebookAndFit)(codebook, z, codes);
}

HWY_EXPORT(LookUpCodebook);
void LookUpCodebook(const Codebook& codebook, std::span<const uint8_t> codes, std::span<float> z) {
  HWY_DYNAMIC_DISPATCH(LookUpCodebook)(codebook, codes, z);
}

HWY_EXPORT(SubtractScaled);
void SubtractScaled(std::span<const float> x, std::span<const float> v, const Scale& scale, const Sink& sink) {
  HWY_DYNAMIC_DISPATCH(SubtractScaled)(x, v, scale, sink);
}

HWY_EXPORT(AddScaled);
void AddScaled(std::span<const float> v, const Scale& scale, float weight, std::span<float> acc) {
  HWY_DYNAMIC_DISPATCH(AddScaled)(v, scale, weight, acc);
}

}  // namespace laconic::kernels
#endif  // HWY_ONCE
