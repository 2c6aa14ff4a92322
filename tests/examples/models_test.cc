#include "examples/nn/models.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <cmath>
#include <functional>
#include <thread>

#include "laconic/base/hash.h"
#include "laconic/base/rng.h"
#include "tests/base/matchers.h"

namespace laconic::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The same networks as plain loops in double: what the loss is, from its definition alone.
class Reference {
 public:
  using Array = std::vector<double>;

  // weights: as Model::weights, in double.
  Reference(const ModelOptions& options, const Array& weights) : options_(options), weights_(weights) {}

  double Loss(const Batch& batch) {
    double loss = 0;
    const size_t width = options_.input.size(), rows = batch.inputs.size() / width;
    const size_t predictions = batch.labels.size() / rows;
    for (size_t row = 0; row < rows; ++row) {
      const auto first = batch.inputs.begin() + row * width;
      const Array scores = Scores(Array(first, first + width));
      for (size_t i = 0; i < predictions; ++i) {
        const double* z = &scores[i * options_.classes];
        double sum = 0;
        for (size_t j = 0; j < options_.classes; ++j) sum += std::exp(z[j]);
        loss += std::log(sum) - z[batch.labels[row * predictions + i]];
      }
    }
    return loss / static_cast<double>(batch.labels.size());
  }

 private:
  Array Scores(Array x) {
    next_weight_ = 0;
    if (options_.kind == ModelKind::kTransformer) return Transform(x);
    ImageShape shape = options_.input;
    if (options_.kind == ModelKind::kCnn) {
      for (const size_t channels : options_.channels) x = Pool(Relu(Convolve(x, shape, channels)), shape);
    }
    if (options_.kind != ModelKind::kLogistic) {
      for (const size_t width : options_.hidden) x = Relu(Multiply(x, width));
    }
    return Multiply(x, options_.classes);
  }

  // Arrays of `context` vectors, one after the other.
  Array Transform(const Array& characters) {
    const size_t n = characters.size(), d = options_.width;
    const double* token = Take(options_.classes * d);
    const double* position = Take(n * d);
    Array x(n * d);
    for (size_t i = 0; i < n * d; ++i) x[i] = token[static_cast<size_t>(characters[i / d]) * d + i % d] + position[i];
    for (size_t block = 0; block < options_.blocks; ++block) {
      x = Add(x, EachPosition(Attend(EachPosition(Normalize(x), n, 3 * d), n), n, d));
      x = Add(x, EachPosition(Relu(EachPosition(Normalize(x), n, 4 * d)), n, d));
    }
    return EachPosition(Normalize(x), n, options_.classes);
  }
  static Array Add(Array x, const Array& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
    return x;
  }
  Array EachPosition(const Array& x, size_t n, size_t out) {
    const size_t from = next_weight_, in = x.size() / n;
    Array y;
    for (size_t i = 0; i < n; ++i) {
      next_weight_ = from;
      const Array one = Multiply(Array(x.begin() + i * in, x.begin() + (i + 1) * in), out);
      y.insert(y.end(), one.begin(), one.end());
    }
    return y;
  }
  Array Normalize(Array x) {
    const size_t d = options_.width;
    const double* gain = Take(d);
    const double* bias = Take(d);
    for (size_t i = 0; i < x.size(); i += d) {
      double mean = 0, variance = 0;
      for (size_t j = 0; j < d; ++j) mean += x[i + j] / d;
      for (size_t j = 0; j < d; ++j) variance += (x[i + j] - mean) * (x[i + j] - mean) / d;
      for (size_t j = 0; j < d; ++j) x[i + j] = (x[i + j] - mean) / std::sqrt(variance + 1e-5) * gain[j] + bias[j];
    }
    return x;
  }
  Array Attend(const Array& qkv, size_t n) const {
    const size_t d = options_.width, part = d / options_.heads;
    Array out(n * d);
    for (size_t head = 0; head < options_.heads; ++head) {
      for (size_t i = 0; i < n; ++i) {
        Array weight(i + 1);
        double sum = 0;
        for (size_t j = 0; j <= i; ++j) {
          double score = 0;
          for (size_t f = head * part; f < (head + 1) * part; ++f) score += qkv[i * 3 * d + f] * qkv[j * 3 * d + d + f];
          sum += weight[j] = std::exp(score / std::sqrt(part));
        }
        for (size_t j = 0; j <= i; ++j) {
          for (size_t f = head * part; f < (head + 1) * part; ++f) {
            out[i * d + f] += weight[j] / sum * qkv[j * 3 * d + 2 * d + f];
          }
        }
      }
    }
    return out;
  }
  const double* Take(size_t count) {
    const double* weights = weights_.data() + next_weight_;
    next_weight_ += count;
    return weights;
  }
  Array Multiply(const Array& x, size_t out) {
    const double* w = Take(out * x.size());
    const double* b = Take(out);
    Array y(b, b + out);
    for (size_t o = 0; o < out; ++o) {
      for (size_t i = 0; i < x.size(); ++i) y[o] += w[o * x.size() + i] * x[i];
    }
    return y;
  }
  static Array Relu(Array x) {
    for (double& value : x) value = std::max(value, 0.0);
    return x;
  }
  Array Convolve(const Array& x, ImageShape& shape, size_t channels) {
    const double* w = Take(channels * shape.channels * 25);
    const double* b = Take(channels);
    const ImageShape out = {channels, shape.height - 4, shape.width - 4};
    Array y(out.size());
    for (size_t o = 0; o < channels; ++o) {
      for (size_t row = 0; row < out.height; ++row) {
        for (size_t col = 0; col < out.width; ++col) {
          double sum = b[o];
          for (size_t c = 0; c < shape.channels; ++c) {
            for (size_t dy = 0; dy < 5; ++dy) {
              for (size_t dx = 0; dx < 5; ++dx) {
                sum += w[((o * shape.channels + c) * 5 + dy) * 5 + dx] *
                       x[(c * shape.height + row + dy) * shape.width + col + dx];
              }
            }
          }
          y[(o * out.height + row) * out.width + col] = sum;
        }
      }
    }
    shape = out;
    return y;
  }
  static Array Pool(const Array& x, ImageShape& shape) {
    const ImageShape out = {shape.channels, shape.height / 2, shape.width / 2};
    Array y(out.size());
    for (size_t c = 0; c < out.channels; ++c) {
      for (size_t row = 0; row < out.height; ++row) {
        for (size_t col = 0; col < out.width; ++col) {
          const double* corner = &x[(c * shape.height + 2 * row) * shape.width + 2 * col];
          y[(c * out.height + row) * out.width + col] =
              std::max({corner[0], corner[1], corner[shape.width], corner[shape.width + 1]});
        }
      }
    }
    shape = out;
    return y;
  }

  const ModelOptions& options_;
  const Array& weights_;
  size_t next_weight_ = 0;
};

// Three random samples with labels 0, 1, 2: images, or texts of characters 0, 1, 2.
struct RandomBatch {
  explicit RandomBatch(const ModelOptions& options) : inputs(3 * options.input.size()) {
    const bool text = options.kind == ModelKind::kTransformer;
    const CounterRng rng({.seed = 11});
    for (size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = text ? static_cast<float>(rng.Below(i, 3)) : 2 * rng.Uniform(i) - 1;
    }
    for (size_t i = 0; i < (text ? inputs.size() : 3); ++i) labels.push_back(static_cast<uint16_t>(i % 3));
  }
  Batch batch() const { return {inputs, labels}; }
  std::vector<float> inputs;
  std::vector<uint16_t> labels;
};

class ModelGradients : public testing::TestWithParam<ModelOptions> {};

// Central differences with h = 1e-5 of the loss in double are off by h^2 |f'''| / 6 + 2^-53 |f| / h, below 1e-9 here.
// The float gradient sums fewer than n = 3 * 144 + 100 + 25 products a weight, through at most five layers: relative
// error at most 5 n 2^-24 = 1.7e-4 of the sum of magnitudes, which is below 1 for these inputs. A kink (ReLU, maximum)
// within h of an input has probability about 1e-3 each.
TEST_P(ModelGradients, EqualCentralDifferencesOfTheReferenceLoss) {
  const ModelOptions& options = GetParam();
  const auto model = *Model::Create(options);
  const RandomBatch random(options);
  const float loss = model->Forward(random.batch());
  model->Backward([](TensorId) {});

  std::vector<double> weights(model->weights().begin(), model->weights().end());
  EXPECT_NEAR(loss, Reference(options, weights).Loss(random.batch()), 1.7e-4);
  size_t offset = 0;
  for (const Parameter& parameter : model->parameters()) {
    double largest = 0;
    for (size_t i = 0; i < parameter.weights.size(); ++i) {
      constexpr double kH = 1e-5;
      double& weight = weights[offset + i];
      const double at = weight;
      weight = at + kH;
      const double above = Reference(options, weights).Loss(random.batch());
      weight = at - kH;
      const double below = Reference(options, weights).Loss(random.batch());
      weight = at;
      const double expected = (above - below) / (2 * kH);
      ASSERT_NEAR(parameter.gradient[i], expected, 1.7e-4) << parameter.name << "[" << i << "]";
      largest = std::max(largest, std::abs(expected));
    }
    EXPECT_GT(largest, 0.01) << parameter.name << ": the comparison must not be one of zeros";
    offset += parameter.weights.size();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, ModelGradients,
    testing::Values(ModelOptions{.kind = ModelKind::kLogistic, .input = {1, 3, 4}, .classes = 3, .max_rows = 4},
                    ModelOptions{
                        .kind = ModelKind::kMlp, .input = {1, 2, 5}, .classes = 4, .hidden = {7, 6}, .max_rows = 3},
                    ModelOptions{.kind = ModelKind::kCnn,
                                 .input = {2, 16, 17},
                                 .classes = 3,
                                 .channels = {2, 3},
                                 .hidden = {5},
                                 .max_rows = 3},
                    ModelOptions{.kind = ModelKind::kTransformer,
                                 .input = {1, 1, 5},
                                 .classes = 4,
                                 .blocks = 2,
                                 .width = 6,
                                 .heads = 2,
                                 .max_rows = 3}));

TEST(Transformer, LaterCharacters_DoNotChangeEarlierPredictions) {
  const ModelOptions options = {
      .kind = ModelKind::kTransformer, .input = {1, 1, 4}, .classes = 3, .width = 8, .heads = 2};
  const auto model = *Model::Create(options);
  // exp(-loss) is the product of the four predictions' probabilities. Summed over the fourth label it is that of the
  // first three.
  const auto loss_of_first_three = [&](float last) {
    const std::vector<float> text = {0, 2, 1, last};
    double probability = 0;
    for (const uint16_t label : {0, 1, 2}) {
      probability += std::exp(-model->Evaluate({text, std::vector<uint16_t>{2, 1, 0, label}}).loss);
    }
    return -std::log(probability);
  };
  // Float sums of 8 products in 5 layers: relative 2^-24 * 40 = 2.4e-6.
  EXPECT_NEAR(loss_of_first_three(0), loss_of_first_three(2), 1e-5);
}

TEST(Model, ParametersAndReadyCalls_AreInForwardAndReverseOrder) {
  const auto model = *Model::Create({.kind = ModelKind::kCnn, .input = {1, 28, 28}, .hidden = {128}, .max_rows = 3});
  std::vector<std::string> names, ready;
  for (const Parameter& parameter : model->parameters()) names.push_back(parameter.name);
  EXPECT_THAT(names, ElementsAre("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.weight", "fc1.bias",
                                 "fc2.weight", "fc2.bias"));
  EXPECT_EQ(model->parameters()[2].shape, Shape({32, 16, 5, 5}));
  EXPECT_EQ(model->parameters()[4].shape, Shape({128, 512}));
  const RandomBatch random({.input = {1, 28, 28}});
  model->Forward(random.batch());
  model->Backward([&](TensorId id) { ready.push_back(model->parameters()[Index(id)].name); });
  std::reverse(names.begin(), names.end());
  EXPECT_EQ(ready, names);
}

TEST(Model, ReadyGradient_IsNotWrittenAnymore) {
  const auto model = *Model::Create({.input = {1, 1, 8}, .classes = 3, .hidden = {6, 5}, .max_rows = 3});
  const RandomBatch random({.input = {1, 1, 8}});
  model->Forward(random.batch());
  std::vector<std::vector<float>> when_ready(model->parameters().size());
  model->Backward([&](TensorId id) {
    const auto gradient = model->parameters()[Index(id)].gradient;
    when_ready[Index(id)].assign(gradient.begin(), gradient.end());
  });
  for (size_t i = 0; i < when_ready.size(); ++i) {
    EXPECT_THAT(model->parameters()[i].gradient, testing::ElementsAreArray(when_ready[i]));
  }
}

TEST(Model, MicroBatchesAdded_GiveTheGradientOfTheirMean) {
  // Powers of two as shares, so that scaling is exact; the sums differ by the order of two additions: relative 2^-23 of
  // the terms.
  const auto model =
      *Model::Create({.kind = ModelKind::kCnn, .input = {1, 16, 16}, .channels = {2, 2}, .hidden = {4}, .max_rows = 3});
  const RandomBatch random({.input = {1, 16, 16}});
  const auto gradient = [&] {
    std::vector<float> all;
    for (const Parameter& p : model->parameters()) all.insert(all.end(), p.gradient.begin(), p.gradient.end());
    return all;
  };
  model->Forward(random.batch());
  model->Backward([](TensorId) {});
  const std::vector<float> once = gradient();
  for (const bool add : {false, true}) {
    model->Forward(random.batch());
    model->Backward({.scale = 0.5f, .add = add}, [](TensorId) {});
  }
  const std::vector<float> twice = gradient();
  for (size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(once[i], twice[i], 1e-5) << i;
}

TEST(Model, FourThreadsAtOnce_EachGiveTheBitsTheyGiveAlone) {
  // Ranks are threads, so the BLAS must bear calls from several at once. Debian's serial OpenBLAS does not: it picks
  // its work buffers without a lock (this test failed 10 times of 10 with it, and a third of 60-step runs of four ranks
  // ended with other weights); its pthread build locks (10 of 10 passed). The threads meet before each product, and
  // their data differ: with equal data a shared buffer would hold the right numbers.
  constexpr int kThreads = 4, kSteps = 100;
  const auto train = [](uint64_t seed, const std::function<void()>& meet) {
    const ModelOptions options = {.input = {1, 28, 28}, .seed = seed};
    std::vector<float> inputs(options.max_rows * options.input.size());
    std::vector<uint16_t> labels(options.max_rows);
    const CounterRng rng({.seed = seed});
    for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = rng.Uniform(i);
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<uint16_t>(i % options.classes);
    const auto model = *Model::Create(options);
    for (int step = 0; step < kSteps; ++step) {
      meet();
      model->Forward({inputs, labels});
      model->Backward([&](TensorId) { meet(); });
      for (const Parameter& p : model->parameters()) {
        for (size_t i = 0; i < p.weights.size(); ++i) p.weights[i] -= 0.01f * p.gradient[i];
      }
    }
    return Hash64(std::as_bytes(model->weights()));
  };
  std::array<uint64_t, kThreads> alone{}, at_once{};
  for (int i = 0; i < kThreads; ++i) alone[i] = train(i, [] {});
  std::barrier together(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { at_once[i] = train(i, [&] { together.arrive_and_wait(); }); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(at_once, alone);
}

TEST(Model, InitialWeights_AreWithinHeBoundsAndFollowTheSeed) {
  const auto weights = [](uint64_t seed) {
    const auto model = *Model::Create({.kind = ModelKind::kLogistic, .input = {1, 1, 600}, .seed = seed});
    return std::vector<float>(model->weights().begin(), model->weights().end());
  };
  const std::vector<float> first = weights(1);
  EXPECT_EQ(first, weights(1));
  EXPECT_NE(first, weights(2));
  const auto [low, high] = std::minmax_element(first.begin(), first.end());
  EXPECT_GE(*low, -0.1f);  // sqrt(6 / 600)
  EXPECT_LE(*high, 0.1f);
  EXPECT_LT(*low, -0.099f);  // 6,000 draws: none below 99 % has probability e^-30
  EXPECT_GT(*high, 0.099f);
  EXPECT_EQ(first.back(), 0);  // the bias
}

TEST(Model, Evaluate_ComparesTheLargestScoreWithTheLabel) {
  const auto model = *Model::Create({.kind = ModelKind::kLogistic, .input = {1, 1, 2}, .classes = 2, .max_rows = 4});
  const std::vector<float> identity = {1, 0, 0, 1, 0, 0};
  std::copy(identity.begin(), identity.end(), model->weights().begin());
  const std::vector<float> inputs = {3, 1, 1, 3, 2, 0};
  const Score score = model->Evaluate({inputs, std::vector<uint16_t>{0, 1, 1}});
  EXPECT_EQ(score.predictions, 3u);
  EXPECT_EQ(score.correct, 2u);
  // Each sample's scores are 2 apart: log(1 + e^-2) twice for the right ones, and log(1 + e^2) = that + 2.
  EXPECT_NEAR(score.loss, 3 * std::log1p(std::exp(-2.0)) + 2, 1e-12);
}

TEST(Model, ImageTooSmallForTheConvolutions_IsInvalid) {
  EXPECT_THAT(
      Model::Create({.kind = ModelKind::kCnn, .input = {1, 15, 28}}),
      HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("conv2 needs at least 6 x 6 pixels and gets 5 x 12")));
}

TEST(Model, HeadsThatDoNotDivideTheWidth_AreInvalid) {
  EXPECT_THAT(Model::Create({.kind = ModelKind::kTransformer, .input = {1, 1, 8}, .width = 10, .heads = 4}),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("10 features cannot be divided among 4 heads")));
}

TEST(ModelKind, UnknownName_ListsTheKnown) {
  EXPECT_EQ(*ParseModelKind("cnn"), ModelKind::kCnn);
  EXPECT_THAT(ParseModelKind("rnn"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("mlp, cnn and transformer")));
}

}  // namespace
}  // namespace laconic::nn
