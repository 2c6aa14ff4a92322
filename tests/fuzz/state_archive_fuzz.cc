// Any byte string is an archive or an error; an archive survives its own round trip.
#include <cstdint>
#include <cstdlib>

#include "laconic/base/state.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto archive = laconic::ParseStateArchive(std::as_bytes(std::span(data, size)));
  if (!archive.ok()) return 0;
  const std::vector<std::byte> bytes = laconic::SerializeStateArchive(*archive);
  const auto again = laconic::ParseStateArchive(bytes);
  if (!again.ok() || laconic::SerializeStateArchive(*again) != bytes) std::abort();
  return 0;
}
