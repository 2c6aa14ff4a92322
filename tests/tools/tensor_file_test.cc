#include "tools/tensor_file.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "laconic/base/state.h"

namespace laconic::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TensorFiles : public ::testing::Test {
 protected:
  TensorFiles() : folder_(std::filesystem::temp_directory_path() / ("laconic_tensors_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~TensorFiles() override { std::filesystem::remove_all(folder_); }
  std::string Path(const std::string& name) const { return folder_ / name; }

 private:
  std::filesystem::path folder_;
};

TEST_F(TensorFiles, Npy_BringsBackShapeAndValues) {
  for (const Shape& shape : {Shape({2, 3}), Shape({6}), Shape({1, 2, 3, 1})}) {
    ASSERT_TRUE(WriteTensorFile(Path("x.npy"), shape, std::vector<float>{1, 2, 3, 4, 5, -6}).ok());
    const absl::StatusOr<TensorFile> file = ReadTensorFile(Path("x.npy"));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->shape, shape);
    EXPECT_THAT(file->values, ElementsAre(1, 2, 3, 4, 5, -6));
    EXPECT_EQ(file->notice, "");
  }
}

TEST_F(TensorFiles, Npy_DataBeginsAtAMultipleOf64_AsTheFormatAsks) {
  ASSERT_TRUE(WriteTensorFile(Path("x.npy"), Shape({1}), std::vector<float>{1}).ok());
  EXPECT_EQ(std::filesystem::file_size(Path("x.npy")) % 64, 4u);
}

TEST_F(TensorFiles, Npy_CutShortAnywhere_IsRefused) {
  ASSERT_TRUE(WriteTensorFile(Path("x.npy"), Shape({2, 2}), std::vector<float>{1, 2, 3, 4}).ok());
  const std::vector<std::byte> whole = *ReadFile(Path("x.npy"));
  for (size_t length = 0; length < whole.size(); ++length) {
    ASSERT_TRUE(WriteFileAtomically(Path("cut.npy"), std::span(whole).first(length)).ok());
    const absl::StatusOr<TensorFile> file = ReadTensorFile(Path("cut.npy"));
    ASSERT_FALSE(file.ok()) << length << " bytes";
    EXPECT_THAT(std::string(file.status().message()), HasSubstr("cut.npy"));
  }
}

TEST_F(TensorFiles, Raw_IsAFlatTensor) {
  ASSERT_TRUE(WriteTensorFile(Path("x.f32"), Shape({2, 2}), std::vector<float>{1, 2, 3, 4}).ok());
  EXPECT_EQ(std::filesystem::file_size(Path("x.f32")), 16u);
  const absl::StatusOr<TensorFile> file = ReadTensorFile(Path("x.f32"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->shape, Shape({4}));
}

TEST_F(TensorFiles, Infinity_IsRefusedWithItsIndex) {
  ASSERT_TRUE(WriteTensorFile(Path("x.f32"), Shape({3}), std::vector<float>{1, INFINITY, NAN}).ok());
  EXPECT_THAT(std::string(ReadTensorFile(Path("x.f32")).status().message()), HasSubstr("element 1 is inf"));
}

}  // namespace
}  // namespace laconic::tools
