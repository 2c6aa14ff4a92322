#include "compressors/gaussian_codebook.h"

#include "compressors/codebooks/tables.h"  // generated into the build tree

namespace laconic::internal {

const GaussianCodebook& GaussianCodebookOf(int bits) {
  return codebook_tables::kCodebooks[static_cast<size_t>(bits) - 1];
}

}  // namespace laconic::internal
