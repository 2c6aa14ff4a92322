// The layers of a decoder-only transformer with normalisation before each branch (Vaswani et al. 2017; Radford et al.
// 2019). A sample has shape 1 x context x width: a vector of width features for each of its characters.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "examples/nn/layers.h"
#include "examples/nn/stack.h"

namespace laconic::nn {

// in: 1 x 1 x context, character numbers below `vocabulary` as floats. out = what each character starts as + what its
// place does: <name>.token of [vocabulary, width], <name>.position of [context, width].
std::unique_ptr<Layer> MakeEmbedding(const std::string& name, size_t context, size_t vocabulary, size_t width);

// out = (in - mean) / sqrt(variance + 1e-5) * gain + bias over the features of each position (Ba, Kiros and Hinton
// 2016): <name>.gain and <name>.bias of [width], which start at 1 and 0.
std::unique_ptr<Layer> MakeLayerNorm(const std::string& name, const ImageShape& shape);

// Each position's features are a query, a key and a value of width in.width / 3, in that order, cut into `heads` equal
// parts. out at position i, part by part: the mean of the values at positions j <= i, weighted by the softmax over j of
// query_i . key_j / sqrt(width of a part).
std::unique_ptr<Layer> MakeCausalAttention(const ImageShape& in, size_t heads);

// out = in + branch(in), where the branch keeps the shape. max_rows: of any batch.
std::unique_ptr<Layer> MakeResidual(const ImageShape& shape, std::unique_ptr<Stack> branch, size_t max_rows);

}  // namespace laconic::nn
