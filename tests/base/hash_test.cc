#include "laconic/base/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace laconic {
namespace {

// The empty input and seed 0: the published XXH3-64 value (xxHash's own sanity table).
TEST(Hash64, EmptyInput_IsThePublishedXxh3Value) { EXPECT_EQ(Hash64(std::string_view()), 0x2D06800538D394C2u); }

TEST(Hash64, EveryFlippedBit_ChangesTheHash) {
  std::vector<std::byte> bytes(300);
  std::set<uint64_t> seen = {Hash64(bytes)};
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    seen.insert(Hash64(bytes));
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
  EXPECT_EQ(seen.size(), 8 * bytes.size() + 1);
}

TEST(Hash64, Seed_ChangesTheHash) { EXPECT_NE(Hash64("laconic", 0), Hash64("laconic", 1)); }

TEST(Hash64, TextAndItsBytes_HashAlike) {
  const std::vector<std::byte> bytes = {std::byte{'a'}, std::byte{'b'}};
  EXPECT_EQ(Hash64("ab"), Hash64(bytes));
}

}  // namespace
}  // namespace laconic
