#include "examples/nn/matrix.h"

#include <mutex>

#include "cblas.h"

namespace laconic::nn {

void UseOneBlasThread() {
  static std::once_flag once;
  std::call_once(once, [] { openblas_set_num_threads(1); });
}

void Multiply(size_t m, size_t n, size_t k, const Factor& a, const Factor& b, const Result& result) {
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans, b.transposed ? CblasTrans : CblasNoTrans,
              static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), result.scale, a.data,
              static_cast<int>(a.stride), b.data, static_cast<int>(b.stride), result.keep, result.data,
              static_cast<int>(result.stride));
}

}  // namespace laconic::nn
