// Clients whose samples are drawn from a model when they are asked for: any number of clients in no memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "examples/nn/client_data.h"

namespace laconic::nn {

// Client i's labels follow a linear model w_i = w + zeta u_i, where w and the u_i are normal vectors of the same length
// on average; so zeta is how far clients differ, relative to what they share.
struct GeneratorOptions {
  enum class Kind {
    kLeastSquares,  // x normal; to predict: w_i . x + noise * normal
    kLogistic,      // x normal; two classes, the second with probability sigmoid(w_i . x)
    kSparseBinary,  // x of `ones` ones, one in each of as many groups of features; classes the same way, the second in
                    // about 24 of 100 samples. With 123 features and 14 ones: of the shape of LIBSVM's a9a.
  };
  Kind kind = Kind::kLogistic;
  size_t features = 20;
  size_t ones = 14;          // sparse-binary
  size_t samples = 100;      // of each client
  size_t test = 5000;        // samples of the test set
  double heterogeneity = 0;  // zeta; for sparse-binary also how far clients differ in which features are frequent
  double noise = 0.1;        // least-squares

  // least-squares(features=20, samples=100, heterogeneity=0, noise=0.1, test=5000), logistic(...), and
  // sparse-binary(features=123, ones=14, ...), every key optional. InvalidArgument with column.
  static absl::StatusOr<GeneratorOptions> Parse(std::string_view text);
  std::string ToString() const;
};

// The clients' samples and, for testing, others of all the clients in turn: pure functions of (options, seed, client,
// sample).
struct GeneratedData {
  std::unique_ptr<ClientData> clients;
  Dataset test;
};
GeneratedData Generate(const GeneratorOptions& options, uint32_t clients, uint64_t seed);

}  // namespace laconic::nn
