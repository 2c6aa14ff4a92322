// Compresses a vector and decodes it again. Exits with 0 when the two largest values came back.
#include <cstdio>
#include <vector>

#include "laconic/compressors/codec_registry.h"

int main() {
  const auto codec = laconic::CodecRegistry::BuiltIn().Create("topk(k=2)");
  if (!codec.ok()) return std::fprintf(stderr, "%s\n", codec.status().ToString().c_str()), 1;
  const std::vector<float> x = {0.5f, -3, 1, 2};
  const laconic::Shape shape = laconic::Shape::Flat(x.size());
  std::vector<std::byte> body((*codec)->MaxBodyBytes(shape));
  const auto bytes = (*codec)->Encode(x, shape, {}, body);
  if (!bytes.ok()) return std::fprintf(stderr, "%s\n", bytes.status().ToString().c_str()), 1;
  std::vector<float> y(x.size());
  const absl::Status status = (*codec)->DecodeAdd(std::span(body).first(*bytes), shape, 1.0f, y);
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.ToString().c_str()), 1;
  return y == std::vector<float>{0, -3, 0, 2} ? 0 : 1;
}
