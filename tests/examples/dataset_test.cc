#include "examples/nn/dataset.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <numeric>

#include "tests/base/matchers.h"
#include "tests/examples/temporary_folder.h"

namespace laconic::nn {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

using Data = TemporaryFolder;

std::vector<float> Sample(const Dataset& data, size_t sample) {
  std::vector<float> values(data.shape.size());
  data.CopySample(sample, values);
  return values;
}

TEST_F(Data, Pixels_AreNormalizedByTheTrainingSet) {
  // Training pixels 0, 0, 4, 4: mean 2, deviation 2. Two test images of the same levels and others.
  const std::string images = WriteFile("images", IdxBytes({2, 1, 2}, std::string("\0\4\0\4", 4)));
  const std::string labels = WriteFile("labels", IdxBytes({2}, std::string("\0\2", 2)));
  const std::string test_images = WriteFile("test_images", IdxBytes({1, 1, 2}, std::string("\2\6", 2)));
  const std::string test_labels = WriteFile("test_labels", IdxBytes({1}, std::string("\1", 1)));
  const auto data = LoadData("idx:" + images + "," + labels + "," + test_images + "," + test_labels);
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->train.shape, (ImageShape{1, 1, 2}));
  EXPECT_EQ(data->train.classes, 3u);
  EXPECT_EQ(data->test.classes, 3u);
  EXPECT_THAT(data->train.labels, ElementsAre(0, 2));
  EXPECT_THAT(Sample(data->train, 1), ElementsAre(-1, 1));
  EXPECT_THAT(Sample(data->test, 0), ElementsAre(0, 2));
}

TEST_F(Data, WithoutTestFiles_EverySeventhSampleIsHeldOut) {
  std::string pixels(14, '\0');
  std::iota(pixels.begin(), pixels.end(), '\0');
  const std::string images = WriteFile("images", IdxBytes({14, 1, 1}, pixels));
  const std::string labels = WriteFile("labels", IdxBytes({14}, pixels));
  const auto data = LoadData("idx:" + images + "," + labels);
  ASSERT_THAT(data, IsOk());
  EXPECT_THAT(data->train.labels, ElementsAre(0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12));
  EXPECT_THAT(data->test.labels, ElementsAre(6, 13));
  EXPECT_THAT(data->test.pixels, ElementsAre(6, 13));
}

TEST_F(Data, FilesThatDoNotFit_AreDataLossNamingBoth) {
  const std::string images = WriteFile("images", IdxBytes({2, 1, 2}, "abcd"));
  const std::string labels = WriteFile("labels", IdxBytes({3}, "abc"));
  EXPECT_THAT(LoadData("idx:" + images + "," + labels),
              HasStatus(absl::StatusCode::kDataLoss, AllOf(HasSubstr("2 images"), HasSubstr("3 labels"))));
  EXPECT_THAT(LoadData("idx:" + images + "," + images),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("labels have 1")));
}

TEST_F(Data, Libsvm_LabelsBecomeClassesAndFeaturesAreScaledByTheTrainingSet) {
  const std::string train = WriteFile("train", "5 1:2 2:-4\n-1 1:1\n");
  const std::string test = WriteFile("test", "3 1:1 3:8\n");
  const auto data = LoadData("libsvm:" + train + "," + test);
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->train.classes, 3u);  // -1, 3, 5
  EXPECT_THAT(data->train.labels, ElementsAre(2, 0));
  EXPECT_THAT(data->test.labels, ElementsAre(1));
  EXPECT_THAT(Sample(data->train, 0), ElementsAre(1, -1, 0));
  EXPECT_THAT(Sample(data->test, 0), ElementsAre(0.5f, 0, 8));  // a feature that training never saw stays as it is
}

TEST_F(Data, EmptyLibsvmFile_IsDataLoss) {
  EXPECT_THAT(LoadData("libsvm:" + WriteFile("empty", "# nothing\n")),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("no samples")));
}

TEST_F(Data, UnknownDescription_ListsTheKnown) {
  for (const char* text : {"", "mnist", "idx:a", "idx:a,b,c", "libsvm:", "libsvm:a,b,c"}) {
    EXPECT_THAT(LoadData(text), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("known are fashion-mnist")));
  }
}

TEST_F(Data, MissingFolder_IsNotFoundNamingTheFile) {
  EXPECT_THAT(LoadData("fashion-mnist:" + folder_),
              HasStatus(absl::StatusCode::kNotFound, HasSubstr(folder_ + "/train-images-idx3-ubyte.gz")));
}

TEST(FashionMnist, Installed_Has60000And10000ImagesOfTenEqualClasses) {
  if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist"))
    GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  const auto data = LoadData("fashion-mnist");
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->train.size(), 60000u);
  EXPECT_EQ(data->test.size(), 10000u);
  EXPECT_EQ(data->train.shape, (ImageShape{1, 28, 28}));
  EXPECT_EQ(data->train.classes, 10u);
  for (uint16_t label = 0; label < 10; ++label)
    EXPECT_EQ(std::count(data->train.labels.begin(), data->train.labels.end(), label), 6000);
}

TEST_F(Data, Text_BecomesSamplesWhoseLabelsAreTheNextCharacters) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "cab";  // 120 bytes: 39 samples of 3 and 2 bytes left
  EXPECT_THAT(LoadData("text:" + WriteFile("short", text), {.context = 3}),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("120 bytes are 39 samples of 3 characters")));
  const auto data = LoadData("text:" + WriteFile("text", text + "c"), {.context = 3});
  ASSERT_THAT(data, IsOk());
  EXPECT_EQ(data->train.classes, 3u);  // a, b, c
  EXPECT_EQ(data->train.size(), 39u);
  EXPECT_EQ(data->test.size(), 1u);
  EXPECT_THAT(Sample(data->train, 38), ElementsAre(2, 0, 1));
  EXPECT_THAT(data->train.LabelsOf(38), ElementsAre(0, 1, 2));
  EXPECT_THAT(data->test.LabelsOf(0), ElementsAre(0, 1, 2));
}

TEST_F(Data, Kinds_OfATextAreItsParts) {
  const auto data = LoadData("text:" + WriteFile("text", std::string(263, 'x')), {.context = 2});
  ASSERT_THAT(data, IsOk());  // 131 samples, 3 of them for testing
  const std::vector<uint16_t> kinds = data->train.Kinds();
  EXPECT_EQ(kinds.size(), 128u);
  EXPECT_EQ(kinds[1], 0);
  EXPECT_EQ(kinds[2], 1);
  EXPECT_EQ(kinds[127], 63);
}

}  // namespace
}  // namespace laconic::nn
