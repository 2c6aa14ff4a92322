#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/plan/tensors.h"

namespace laconic::tools {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A folder of files, gone with the test.
class ModelFiles : public ::testing::Test {
 protected:
  ModelFiles() {
    std::string name = (std::filesystem::temp_directory_path() / "laconic-models-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~ModelFiles() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, std::string_view content) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  // A safetensors file of that header and no data.
  std::string WriteSafetensors(const std::string& name, std::string_view header) {
    std::string content;
    for (int i = 0; i < 8; ++i) content += static_cast<char>(header.size() >> (8 * i) & 0xff);
    return Write(name, content + std::string(header));
  }
  std::string ErrorOf(std::string_view json) {
    const absl::StatusOr<ModelTensors> model = ReadModelTensors(Write("bad.json", json));
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument) << json;
    return std::string(model.status().message());
  }

  std::filesystem::path folder_;
};

TEST_F(ModelFiles, Shapes_KeepTheirOrder) {
  const absl::StatusOr<ModelTensors> model = ReadModelTensors(Write("mlp.json", R"({"tensors": [
      {"name": "z.weight", "shape": [4, 3]}, {"name": "a.bias", "shape": [4]}, {"name": "scalar", "shape": []}]})"));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->name, "mlp");
  ASSERT_EQ(model->tensors.size(), 3u);
  EXPECT_EQ(model->tensors[0].name, "z.weight");
  EXPECT_EQ(model->tensors[0].shape, Shape({4, 3}));
  EXPECT_EQ(model->elements(), 12u + 4 + 1);
}

TEST_F(ModelFiles, Safetensors_GivesItsFloatTensors) {
  const absl::StatusOr<ModelTensors> model = ReadModelTensors(WriteSafetensors(
      "m.safetensors",
      R"({"__metadata__": {"format": "pt"}, "w": {"dtype": "BF16", "shape": [2, 8], "data_offsets": [0, 32]},
      "positions": {"dtype": "I64", "shape": [512], "data_offsets": [32, 4128]}})"));
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(model->tensors.size(), 1u);
  EXPECT_EQ(model->tensors[0].shape, Shape({2, 8}));
}

TEST_F(ModelFiles, SafetensorsIndex_ReadsTheFilesBesideIt) {
  WriteSafetensors("part-1.safetensors", R"({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}})");
  WriteSafetensors("part-2.safetensors", R"({"b": {"dtype": "F32", "shape": [7], "data_offsets": [0, 28]}})");
  const absl::StatusOr<ModelTensors> model = ReadModelTensors(Write(
      "model.safetensors.index.json", R"({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}})"));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->elements(), 12u);
  EXPECT_EQ(ReadModelTensors(Write("gone.json", R"({"weight_map": {"a": "none.safetensors"}})")).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ModelFiles, BadInput_IsNamed) {
  EXPECT_THAT(ErrorOf("{"), HasSubstr("bad.json"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("\"tensors\""));
  EXPECT_THAT(ErrorOf(R"({"tensors": []})"), HasSubstr("no tensors"));
  EXPECT_THAT(ErrorOf(R"({"tensors": [{"shape": [1]}]})"), HasSubstr("tensors[0]"));
  EXPECT_THAT(ErrorOf(R"({"tensors": [7]})"), HasSubstr("tensors[0]"));
  EXPECT_THAT(ErrorOf(R"({"tensors": [{"name": "w"}]})"), AllOf(HasSubstr("\"w\""), HasSubstr("shape")));
  EXPECT_THAT(ErrorOf(R"({"tensors": [{"name": "w", "shape": [2, 0]}]})"), HasSubstr("[2,0]"));
  EXPECT_THAT(ErrorOf(R"({"tensors": [{"name": "w", "shape": [-1]}]})"), HasSubstr("[-1]"));
  EXPECT_THAT(ErrorOf(R"({"tensors": [{"name": "w", "shape": [1.5]}]})"), HasSubstr("[1.5]"));
  EXPECT_THAT(ErrorOf(R"({"tensors": [{"name": "w", "shape": [4294967296, 4294967296]}]})"), HasSubstr("\"w\""));
  EXPECT_THAT(ErrorOf(R"({"tensors": [{"name": "w", "shape": [1]}, {"name": "w", "shape": [1]}]})"),
              HasSubstr("named twice"));
  EXPECT_EQ(ReadModelTensors(Write("cut.safetensors", "abc")).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadModelTensors(WriteSafetensors("text.safetensors", "no json")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadModelTensors((folder_ / "none.json").string()).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace laconic::tools
