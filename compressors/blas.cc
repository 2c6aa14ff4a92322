#include "compressors/blas.h"

#include <cblas.h>

namespace laconic::internal {

// To a column-major library a row-major M of rows x cols is M^T with leading dimension cols.
void MultiplyMatrixByFactor(std::span<const float> m, size_t rows, size_t cols, std::span<const float> q, size_t rank,
                            std::span<float> p) {
  const auto m_rows = static_cast<int>(rows);
  const auto m_cols = static_cast<int>(cols);
  cblas_sgemm(CblasColMajor, CblasTrans, CblasNoTrans, m_rows, static_cast<int>(rank), m_cols, 1.0f, m.data(), m_cols,
              q.data(), m_cols, 0.0f, p.data(), m_rows);
}

void MultiplyTransposeByFactor(std::span<const float> m, size_t rows, size_t cols, std::span<const float> p,
                               size_t rank, std::span<float> q) {
  const auto m_rows = static_cast<int>(rows);
  const auto m_cols = static_cast<int>(cols);
  cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, m_cols, static_cast<int>(rank), m_rows, 1.0f, m.data(), m_cols,
              p.data(), m_rows, 0.0f, q.data(), m_cols);
}

}  // namespace laconic::internal
