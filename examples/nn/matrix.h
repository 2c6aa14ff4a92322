// Products of row-major float matrices, by the BLAS.
#pragma once

#include <cstddef>

namespace laconic::nn {

// Products run on the thread that asks for them: ranks and models are the parallelism here. Once for the process;
// thread-safe.
void UseOneBlasThread();

// A factor of a product: rows `stride` floats apart, taken as they lie or transposed.
struct Factor {
  const float* data = nullptr;
  size_t stride = 0;
  bool transposed = false;
};

// The m x n result, rows `stride` floats apart: result <- scale * a * b + keep * result. keep = 0 does not read it.
struct Result {
  float* data = nullptr;
  size_t stride = 0;
  float scale = 1;
  float keep = 0;
};

// a: m x k and b: k x n, after any transposition. Nothing of the result may lie in a or b.
void Multiply(size_t m, size_t n, size_t k, const Factor& a, const Factor& b, const Result& result);

}  // namespace laconic::nn
