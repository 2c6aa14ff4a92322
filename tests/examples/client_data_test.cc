// Samples of federated learning's clients: split, generated, in files, and the objective over them.
#include "examples/nn/client_data.h"

#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "examples/nn/client_objective.h"
#include "examples/nn/csv.h"
#include "examples/nn/generated_data.h"
#include "examples/nn/part_files.h"
#include "tests/base/matchers.h"
#include "tests/examples/temporary_folder.h"

namespace laconic::nn {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using ClientDataFiles = TemporaryFolder;

struct Sample {
  std::vector<float> inputs;
  std::vector<uint16_t> labels;
  std::vector<float> targets;
  friend bool operator==(const Sample&, const Sample&) = default;
};

Sample SampleOf(const ClientData& data, uint32_t client, size_t sample) {
  const SampleFormat& format = data.format();
  Sample out{.inputs = std::vector<float>(format.shape.size()),
             .labels = std::vector<uint16_t>(format.labels_per_sample),
             .targets = std::vector<float>(format.targets_per_sample())};
  const std::unique_ptr<ClientData::Reader> reader = data.NewReader();
  reader->Open(client);
  reader->Copy(sample, {out.inputs, out.labels, out.targets});
  return out;
}

// Samples 0 .. count-1 of one feature, their number, in classes that take turns.
Dataset Counting(size_t count, size_t classes) {
  Dataset data;
  data.shape = {1, 1, 1};
  data.classes = classes;
  for (size_t i = 0; i < count; ++i) {
    data.values.push_back(static_cast<float>(i));
    data.labels.push_back(static_cast<uint16_t>(i % classes));
  }
  return data;
}

TEST(Csv, HeaderAndLabelColumn_AreUnderstood) {
  const auto first = ParseCsv("kind,width,height\n1, 0.5,2\r\n\n\"0\",-1,3e1\n", "a.csv", LabelColumn::kFirst);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(first->labels, ElementsAre("1", "0"));
  EXPECT_EQ(first->features, 2u);
  EXPECT_THAT(first->values, ElementsAre(0.5f, 2, -1, 30));
  const auto last = ParseCsv("1,2,setosa\n3,4,virginica", "b.csv", LabelColumn::kLast);
  ASSERT_THAT(last, IsOk());
  EXPECT_THAT(last->labels, ElementsAre("setosa", "virginica"));
  EXPECT_THAT(last->values, ElementsAre(1, 2, 3, 4));
}

TEST(Csv, Malformed_IsDataLossNamingTheLine) {
  const auto error = [](std::string_view text) { return ParseCsv(text, "x.csv", LabelColumn::kFirst).status(); };
  EXPECT_THAT(error(""), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("no samples")));
  EXPECT_THAT(error("a,b\n"), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("no samples")));
  EXPECT_THAT(error("1\n"), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("x.csv:1: one column")));
  EXPECT_THAT(error("1,2\n1,2,3\n"),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("x.csv:2: 3 columns, the first line has 2")));
  EXPECT_THAT(error("1,2\n1,nan\n"), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("x.csv:2: column 2")));
  EXPECT_THAT(error("1,2\n,3\n"),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("x.csv:2: column 1, the label, is empty")));
}

TEST_F(ClientDataFiles, CsvData_ClassesAscendAndFeaturesAreNormalized) {
  // The largest magnitude is 4: features 0.5, 1, 0 of mean 0.5. Classes 2 and 10 by value, not as texts.
  const std::string path = WriteFile("train.csv", "10,2\n2,4\n10,0\n");
  const std::string test = WriteFile("test.csv", "2,8\n");
  const auto data = LoadData("csv:" + path + "," + test, {.normalize = Normalize::kMean});
  ASSERT_THAT(data, IsOk());
  EXPECT_THAT(data->train.labels, ElementsAre(1, 0, 1));
  EXPECT_THAT(data->train.values, ElementsAre(0, 0.5f, -0.5f));
  EXPECT_THAT(data->test.values, ElementsAre(1.5f));
}

TEST_F(ClientDataFiles, Pixels_LessTheirMeans) {
  // Pixels 0 and 51, 255 and 153: as shares of 255 they are 0 and 0.2, 1 and 0.6, of means 0.5 and 0.4.
  const std::string images = WriteFile("images", IdxBytes({2, 1, 2}, std::string("\0\x33\xff\x99", 4)));
  const std::string labels = WriteFile("labels", IdxBytes({2}, std::string("\0\1", 2)));
  const std::string files = "idx:" + images + "," + labels + "," + images + "," + labels;
  const auto data = LoadData(files, {.normalize = Normalize::kMean});
  ASSERT_THAT(data, IsOk());
  std::vector<float> sample(2);
  data->train.CopySample(1, sample);
  EXPECT_THAT(sample, ElementsAre(testing::FloatEq(0.5f), testing::FloatEq(0.2f)));
  LoadData(files, {.normalize = Normalize::kNone})->test.CopySample(1, sample);
  EXPECT_THAT(sample, ElementsAre(testing::FloatEq(1), testing::FloatEq(0.6f)));
}

TEST(SplitAmongClients, EveryClientReadsItsOwnSamples) {
  const Dataset data = Counting(20, 4);
  const auto clients = *SplitAmongClients(&data, *Split::Parse("labels"), 4, 1);
  EXPECT_EQ(clients->clients(), 4u);
  EXPECT_EQ(clients->samples(4), 0u);
  for (uint32_t client = 0; client < 4; ++client) {
    ASSERT_EQ(clients->samples(client), 5u);
    for (size_t i = 0; i < 5; ++i) {
      const Sample sample = SampleOf(*clients, client, i);
      EXPECT_EQ(sample.labels[0], client);
      EXPECT_EQ(static_cast<size_t>(sample.inputs[0]) % 4, client);
    }
  }
  EXPECT_THAT(ClassCounts(*clients, 2), ElementsAre(0, 0, 5, 0));
}

TEST(GeneratedData, Samples_AreAPureFunctionOfClientAndSample) {
  for (const char* text : {"least-squares", "logistic(features=5)", "sparse-binary(heterogeneity=1)"}) {
    const GeneratorOptions options = *GeneratorOptions::Parse(text);
    const GeneratedData few = Generate(options, 3, 7), many = Generate(options, 100000, 7);
    EXPECT_EQ(SampleOf(*few.clients, 2, 5), SampleOf(*many.clients, 2, 5)) << text;
    EXPECT_NE(SampleOf(*few.clients, 1, 5).inputs, SampleOf(*few.clients, 2, 5).inputs) << text;
    EXPECT_NE(SampleOf(*few.clients, 2, 4).inputs, SampleOf(*few.clients, 2, 5).inputs) << text;
    EXPECT_NE(SampleOf(*Generate(options, 3, 8).clients, 2, 5).inputs, SampleOf(*few.clients, 2, 5).inputs) << text;
  }
}

TEST(GeneratedData, SparseBinary_HasTheShapeOfA9a) {
  const GeneratedData data = Generate(*GeneratorOptions::Parse("sparse-binary"), 10, 1);
  EXPECT_EQ(data.clients->format().shape.size(), 123u);
  size_t second = 0;
  for (uint32_t client = 0; client < 10; ++client) {
    second += ClassCounts(*data.clients, client)[1];
    for (size_t i = 0; i < 100; ++i) {
      const Sample sample = SampleOf(*data.clients, client, i);
      EXPECT_EQ(std::accumulate(sample.inputs.begin(), sample.inputs.end(), 0.0f), 14);
      EXPECT_THAT(sample.inputs, Each(testing::AnyOf(0.0f, 1.0f)));
    }
  }
  EXPECT_GT(second, 100u);  // about 240 of 1,000
  EXPECT_LT(second, 500u);
}

TEST(GeneratedData, LeastSquaresWithoutNoise_IsLinearInTheInputs) {
  // With as many features as known samples a linear map always fits; one more sample tells.
  const GeneratedData data = Generate(*GeneratorOptions::Parse("least-squares(features=1, noise=0)"), 2, 3);
  const Sample a = SampleOf(*data.clients, 0, 0), b = SampleOf(*data.clients, 1, 1);
  EXPECT_NEAR(a.targets[0] / a.inputs[0], b.targets[0] / b.inputs[0], 1e-5);  // one model, as heterogeneity is 0
  const GeneratedData apart =
      Generate(*GeneratorOptions::Parse("least-squares(features=1, noise=0, heterogeneity=1)"), 2, 3);
  const Sample c = SampleOf(*apart.clients, 0, 0), d = SampleOf(*apart.clients, 1, 1);
  EXPECT_GT(std::abs(c.targets[0] / c.inputs[0] - d.targets[0] / d.inputs[0]), 1e-3);
}

TEST(GeneratedData, BadText_NamesTheColumn) {
  EXPECT_THAT(GeneratorOptions::Parse("linear"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("known are least-squares")));
  EXPECT_THAT(GeneratorOptions::Parse("logistic(ones=3)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("column 10")));
  EXPECT_THAT(GeneratorOptions::Parse("sparse-binary(features=5, ones=6)"),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("ones")));
  const std::string text = GeneratorOptions::Parse("sparse-binary(heterogeneity=0.5)")->ToString();
  EXPECT_EQ(GeneratorOptions::Parse(text)->ToString(), text);
}

TEST_F(ClientDataFiles, Part_GivesTheSameNumbersAsTheWhole) {
  const Dataset data = Counting(20, 4);
  const auto whole = *SplitAmongClients(&data, *Split::Parse("iid"), 3, 1);
  std::filesystem::create_directory(folder_ + "/part-1");
  ASSERT_THAT(WritePart(folder_ + "/part-1", *whole, 1), IsOk());
  const auto part = ReadPart(folder_ + "/part-1");
  ASSERT_THAT(part, IsOk());
  EXPECT_EQ(part->client, 1u);
  EXPECT_EQ(part->data->clients(), 3u);
  EXPECT_EQ(part->data->samples(0), 0u);
  ASSERT_EQ(part->data->samples(1), whole->samples(1));
  for (size_t i = 0; i < whole->samples(1); ++i) EXPECT_EQ(SampleOf(*part->data, 1, i), SampleOf(*whole, 1, i));
  EXPECT_THAT(ReadPart(folder_), HasStatus(absl::StatusCode::kNotFound, HasSubstr("samples.safetensors")));
}

TEST_F(ClientDataFiles, SpoiltPart_IsDataLoss) {
  ASSERT_THAT(WriteTestPart(folder_, Counting(20, 4)), IsOk());
  EXPECT_EQ(ReadPart(folder_)->data->clients(), 0u);  // a test set is nobody's part
  EXPECT_EQ(ReadTestPart(folder_)->values.size(), 20u);
  WriteFile("samples.safetensors", "nonsense");
  EXPECT_THAT(ReadTestPart(folder_).status(), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("samples.safetensors")));
}

std::unique_ptr<ClientObjective> LogisticObjective(const ClientData* data, uint64_t seed) {
  return *ClientObjective::Create(
      {.model = {.kind = ModelKind::kLogistic}, .data = data, .batch = 4, .steps_per_round = 3, .seed = seed});
}

TEST(ClientObjective, Gradient_DependsOnTheMinibatchAloneAndNotOnWhatCameBefore) {
  const GeneratedData data = Generate(*GeneratorOptions::Parse("logistic"), 5, 1);
  const auto a = LogisticObjective(data.clients.get(), 1), b = LogisticObjective(data.clients.get(), 1);
  const auto gradient = [](ClientObjective& objective, const MinibatchKey& key) {
    EXPECT_THAT(objective.Evaluate(key), IsOk());
    return std::vector<float>(objective.gradient().begin(), objective.gradient().end());
  };
  const std::vector<float> first = gradient(*a, {.client = 2, .round = 1, .step = 2});
  for (const MinibatchKey& key : {MinibatchKey{2, 1, 1}, MinibatchKey{3, 1, 2}, MinibatchKey{2, 0, 2}}) {
    EXPECT_NE(gradient(*b, key), first);
  }
  EXPECT_EQ(gradient(*b, {.client = 2, .round = 1, .step = 2}), first);
  EXPECT_THAT(a->Evaluate({.client = 5}), HasStatus(absl::StatusCode::kOutOfRange, HasSubstr("client 5 of 5")));
}

TEST(ClientObjective, StepsOfARound_DrawEverySampleOnceBeforeAnyTwice) {
  const Dataset data = Counting(12, 12);
  const auto clients = *SplitAmongClients(&data, *Split::Parse("iid"), 1, 1);
  // The bias gradient of class c counts how often the class was drawn: p - 1 where it was, and p > 0 where not.
  const auto objective = LogisticObjective(clients.get(), 1);
  std::fill(objective->weights().begin(), objective->weights().end(), 0.0f);
  std::vector<int> drawn(12);
  for (uint32_t step = 0; step < 3; ++step) {
    ASSERT_THAT(objective->Evaluate({.client = 0, .round = 5, .step = step}), IsOk());
    for (size_t c = 0; c < 12; ++c) drawn[c] += objective->gradient()[12 + c] < 0;
  }
  EXPECT_THAT(drawn, Each(1));
}

TEST(ClientObjective, LeastSquares_GradientIsThatOfHalfTheSquaredError) {
  // One sample x = 2, y = 3 at w = 1, b = 0: error -1, loss 0.5, gradient (-2, -1).
  Dataset data;
  data.shape = {1, 1, 1};
  data.values = {2};
  data.targets = {3};
  const auto clients = *SplitAmongClients(&data, *Split::Parse("iid"), 1, 1);
  const auto objective =
      *ClientObjective::Create({.model = {.kind = ModelKind::kLogistic}, .data = clients.get(), .batch = 1});
  objective->weights()[0] = 1;
  objective->weights()[1] = 0;
  EXPECT_EQ(*objective->Evaluate({}), 0.5);
  EXPECT_THAT(objective->gradient(), ElementsAre(-2, -1));
  const auto evaluator = *ModelEvaluator::Create({.kind = ModelKind::kLogistic}, &data, 1);
  EXPECT_EQ(evaluator->Evaluate(objective->weights()).loss, 0.5);
}

TEST(ModelEvaluator, AnyNumberOfThreads_GivesTheSameBits) {
  const GeneratedData data = Generate(*GeneratorOptions::Parse("logistic(test=1100)"), 5, 1);
  const auto objective = LogisticObjective(data.clients.get(), 1);
  std::vector<double> losses;
  for (const int threads : {1, 2, 3}) {
    const Score score =
        (*ModelEvaluator::Create({.kind = ModelKind::kLogistic}, &data.test, threads))->Evaluate(objective->weights());
    EXPECT_EQ(score.predictions, 1100u);
    losses.push_back(score.loss);
  }
  EXPECT_THAT(losses, Each(losses[0]));
}

}  // namespace
}  // namespace laconic::nn
