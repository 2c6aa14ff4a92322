#include "tools/plan/tensors.h"

#include <filesystem>
#include <fstream>
#include <set>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "nlohmann/json.hpp"
#include "tools/result_file.h"
#include "tools/sample_data.h"

namespace laconic::tools {
namespace {

using Json = nlohmann::ordered_json;  // keeps a file's order, which is the model's

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation of safetensors

absl::Status Add(const std::string& path, const std::string& name, const Json& dimensions, ModelTensors& model,
                 std::set<std::string>& names) {
  const auto refuse = [&](std::string_view what) {
    return absl::InvalidArgumentError(fmt::format("{}: tensor \"{}\": {}", path, name, what));
  };
  if (!names.insert(name).second) return refuse("named twice");
  std::vector<uint64_t> sizes;
  if (!dimensions.is_array()) return refuse("shape is missing or no list");
  for (const Json& size : dimensions) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() == 0) {
      return refuse(fmt::format("shape {} is no list of whole numbers of at least 1", dimensions.dump()));
    }
    sizes.push_back(size.get<uint64_t>());
  }
  const absl::StatusOr<Shape> shape = Shape::Make(sizes);
  if (!shape.ok()) return refuse(std::string(shape.status().message()));
  if (shape->elements() > (uint64_t{1} << 48)) return refuse(fmt::format("{} elements", shape->elements()));
  model.tensors.push_back({name, *shape});
  return absl::OkStatus();
}

// The JSON header of a safetensors file: its length as 8 little-endian bytes, then its text.
absl::StatusOr<Json> SafetensorsHeader(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(fmt::format("cannot read {}", path));
  unsigned char length[8] = {};
  in.read(reinterpret_cast<char*>(length), sizeof(length));
  uint64_t bytes = 0;
  for (int i = 7; i >= 0; --i) bytes = bytes << 8 | length[i];
  if (!in || bytes > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(fmt::format("{}: no safetensors file (header of {} bytes)", path, bytes));
  }
  std::string text(bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(bytes));
  Json header = in ? Json::parse(text, nullptr, false) : Json(Json::value_t::discarded);
  if (!header.is_object()) return absl::InvalidArgumentError(fmt::format("{}: the header is no JSON object", path));
  return header;
}

absl::Status AddSafetensors(const std::string& path, ModelTensors& model, std::set<std::string>& names) {
  LACONIC_ASSIGN_OR_RETURN(const Json header, SafetensorsHeader(path));
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const std::string type = entry.is_object() ? entry.value("dtype", Json("")).dump() : "";
    if (type.find('F') == std::string::npos) continue;  // "F32", "BF16", ...; indices and masks have no gradient
    LACONIC_RETURN_IF_ERROR(Add(path, name, entry.value("shape", Json()), model, names));
  }
  return absl::OkStatus();
}

absl::Status AddIndex(const std::string& path, const Json& weight_map, ModelTensors& model,
                      std::set<std::string>& names) {
  std::set<std::string> files;
  for (const Json& file : weight_map) {
    if (!file.is_string()) return absl::InvalidArgumentError(fmt::format("{}: weight_map names no files", path));
    files.insert(file.get<std::string>());
  }
  for (const std::string& file : files) {
    LACONIC_RETURN_IF_ERROR(AddSafetensors((std::filesystem::path(path).parent_path() / file).string(), model, names));
  }
  return absl::OkStatus();
}

absl::Status AddShapes(const std::string& path, const Json& root, ModelTensors& model, std::set<std::string>& names) {
  if (const auto name = root.find("name"); name != root.end() && name->is_string()) model.name = *name;
  const auto tensors = root.find("tensors");
  if (tensors == root.end() || !tensors->is_array()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: neither \"tensors\" nor \"weight_map\"; a model is {{\"tensors\": [{{\"name\": \"fc1.weight\", "
        "\"shape\": [1024, 784]}}, ...]}}, a safetensors file or its index",
        path));
  }
  for (size_t i = 0; i < tensors->size(); ++i) {
    const Json& tensor = (*tensors)[i];
    const auto name = tensor.is_object() ? tensor.find("name") : tensor.end();
    if (!tensor.is_object() || name == tensor.end() || !name->is_string()) {
      return absl::InvalidArgumentError(fmt::format("{}: tensors[{}] has no name", path, i));
    }
    LACONIC_RETURN_IF_ERROR(Add(path, *name, tensor.value("shape", Json()), model, names));
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t ModelTensors::elements() const {
  uint64_t sum = 0;
  for (const NamedShape& tensor : tensors) sum += tensor.shape.elements();
  return sum;
}

absl::StatusOr<ModelTensors> ReadModelTensors(const std::string& path) {
  ModelTensors model{.name = std::filesystem::path(path).stem().string()};
  std::set<std::string> names;
  if (path.ends_with(".safetensors")) {
    LACONIC_RETURN_IF_ERROR(AddSafetensors(path, model, names));
  } else {
    LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
    const Json root = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!root.is_object()) return absl::InvalidArgumentError(fmt::format("{}: no JSON object", path));
    const auto index = root.find("weight_map");
    LACONIC_RETURN_IF_ERROR(index != root.end() ? AddIndex(path, *index, model, names)
                                                : AddShapes(path, root, model, names));
  }
  if (model.tensors.empty()) return absl::InvalidArgumentError(fmt::format("{}: no tensors", path));
  if (model.elements() > (uint64_t{1} << 48)) {
    return absl::InvalidArgumentError(fmt::format("{}: {} elements, limit 2^48", path, model.elements()));
  }
  return model;
}

ModelTensors SingleTensor(uint64_t elements) {
  return {.name = fmt::format("{} elements", elements), .tensors = {{"tensor", NearSquare(elements)}}};
}

}  // namespace laconic::tools
