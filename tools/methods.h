// `laconic methods`: what can stand in a spec, from the library's own tables.
#pragma once

#include <string>

namespace laconic {

enum class TableFormat { kText, kMarkdown, kJson };

// Codecs (with bits per element measured by encoding 2^20 standard normal values as a 1024 x 1024 matrix), error
// controls with their memory price, strategies with their wire bytes.
std::string DescribeMethods(TableFormat format);

}  // namespace laconic
