// A vector of the model's size as one message: each tensor by its own codec, one frame around all.
//
// docs/payload-format.md, section "A whole model": the 48-byte payload header (tensor = 0xffffffff - vector, part =
// sender, step = round, elements = d, codec = that of the first tensor), then for each tensor, in order, the length of
// its body as a varint and the body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/compressors/codec_registry.h"
#include "laconic/compressors/compressor.h"
#include "laconic/compressors/payload.h"
#include "laconic/optim/parameter.h"

namespace laconic {

// Const after construction; thread-safe. A value; one that is only default-constructed has no tensors and is not used.
class VectorCodec {
 public:
  // spec: a codec, "quantize(bits=2)", or rules by tensor name, "fc*.weight: topk(ratio=0.01); *: identity"
  // (GradientSync's patterns; no controls or strategies). Tensors of fewer than min_elements, and those a codec does
  // not support, go as they are. InvalidArgument with column for what is no codec or leaves a tensor without one.
  static absl::StatusOr<VectorCodec> Create(std::string_view spec, std::span<const Parameter> parameters,
                                            size_t min_elements = 0,
                                            const CodecRegistry& registry = CodecRegistry::BuiltIn());

  std::string ToString() const { return spec_; }  // canonical
  size_t elements() const { return elements_; }   // d
  size_t MaxBytes() const { return max_bytes_; }  // of any message, the frame included; exact where identity()
  bool identity() const { return identity_; }     // every tensor goes as it is
  // What holds for every tensor: the smallest delta (1 - omega where a codec claims nothing but omega < 1), the largest
  // omega; absent where one tensor's codec claims none.
  Traits traits() const;

  // Who says it, and when: also what random draws depend on.
  struct Origin {
    uint64_t seed = 0;
    uint64_t round = 0;
    uint32_t sender = 0;  // a client, or kServer
    uint32_t vector = 0;  // tells the vectors of one broadcast apart
  };
  static constexpr uint32_t kServer = 0xfffffffe;

  // Writes the message to the front of `message` (MaxBytes()), and what it decodes to into `decoded`, d floats that
  // must not overlap x (empty: nobody asks). Gives the length. InvalidArgument naming tensor and index where x holds a
  // NaN or an infinity.
  absl::StatusOr<size_t> Encode(std::span<const float> x, const Origin& origin, std::span<std::byte> message,
                                std::span<float> decoded) const;

  // acc += scale * decode(message). message: untrusted. DataLoss naming sender, tensor and what is wrong: another
  // origin, length, checksum, non-finite value. On error acc is unspecified.
  absl::Status DecodeAdd(std::span<const std::byte> message, const Origin& origin, float scale,
                         std::span<float> acc) const;

 private:
  struct Tensor {
    std::string name;
    Shape shape;
    std::shared_ptr<const Compressor> codec;
    size_t max_body_bytes = 0;
  };

  PayloadHeader Header(const Origin& origin) const;

  std::vector<Tensor> tensors_;
  std::string spec_;
  size_t elements_ = 0;
  size_t max_bytes_ = 0;
  bool identity_ = true;
};

}  // namespace laconic
