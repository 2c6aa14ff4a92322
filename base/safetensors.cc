// The archive as safetensors bytes (https://github.com/huggingface/safetensors#format), and back from untrusted ones.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "laconic/base/byte_io.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

using nlohmann::json;

constexpr const char* kMetadata = "__metadata__";
constexpr size_t kLengthBytes = sizeof(uint64_t);
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr int kMaxHeaderDepth = 3;                 // header object > entry object > array

struct TypeFacts {
  StateType type;
  const char* name;
  uint64_t bytes;
};
// Widest first: tensors lie in the file in this order, so that each one's data is aligned to its own element.
constexpr std::array<TypeFacts, 3> kTypes = {{
    {StateType::kU64, "U64", 8},
    {StateType::kF32, "F32", 4},
    {StateType::kU8, "U8", 1},
}};

absl::Status Malformed(std::string_view problem) {
  return absl::DataLossError(fmt::format("safetensors file: {}", problem));
}

absl::Status MalformedEntry(std::string_view name, std::string_view problem) {
  return absl::DataLossError(fmt::format("safetensors file: tensor {}: {}", name, problem));
}

// The header as JSON, or nothing. Duplicate keys, which JSON readers resolve in different ways, and nesting deeper than
// the format has are refused while parsing, so a hostile header costs no more than its length.
std::optional<json> ParseHeader(std::string_view text) {
  bool acceptable = true;
  std::array<std::set<std::string>, kMaxHeaderDepth + 1> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxHeaderDepth) acceptable = false;
    if (!acceptable) return false;
    if (event == json::parse_event_t::object_start && depth + 1 <= kMaxHeaderDepth) keys[depth + 1].clear();
    if (event == json::parse_event_t::key) acceptable = keys[depth].insert(value.get_ref<std::string&>()).second;
    return acceptable;
  };
  json header = json::parse(text, check, /*allow_exceptions=*/false);
  if (!acceptable || !header.is_object()) return std::nullopt;
  return header;
}

std::optional<std::vector<uint64_t>> UnsignedArray(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return std::nullopt;
  std::vector<uint64_t> values;
  values.reserve(found->size());
  for (const json& value : *found) {
    if (!value.is_number_unsigned()) return std::nullopt;
    values.push_back(value.get<uint64_t>());
  }
  return values;
}

struct Extent {
  uint64_t begin, end;
  friend auto operator<=>(const Extent&, const Extent&) = default;
};

// One entry of the header: its bytes are copied from `data`, and the place they came from is appended to `extents`.
absl::StatusOr<StateArchive::Entry> ParseEntry(const std::string& name, const json& value,
                                               std::span<const std::byte> data, std::vector<Extent>& extents) {
  if (!value.is_object() || value.size() != 3) return MalformedEntry(name, "wants dtype, shape and data_offsets");
  const auto dtype = value.find("dtype");
  if (dtype == value.end() || !dtype->is_string()) return MalformedEntry(name, "dtype is not a text");
  const auto& type_name = dtype->get_ref<const std::string&>();
  const auto type = std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeFacts& t) { return type_name == t.name; });
  if (type == kTypes.end()) return MalformedEntry(name, fmt::format("dtype {} is not F32, U64 or U8", type_name));

  const auto dimensions = UnsignedArray(value, "shape");
  if (!dimensions) return MalformedEntry(name, "shape is not an array of unsigned integers");
  const absl::StatusOr<Shape> shape = Shape::Make(*dimensions);
  if (!shape.ok()) {
    const absl::string_view why = shape.status().message();
    return MalformedEntry(name, std::string_view(why.data(), why.size()));
  }

  const auto offsets = UnsignedArray(value, "data_offsets");
  if (!offsets || offsets->size() != 2) return MalformedEntry(name, "data_offsets is not two unsigned integers");
  const auto [begin, end] = Extent{(*offsets)[0], (*offsets)[1]};
  if (begin > end || end > data.size()) {
    return MalformedEntry(name,
                          fmt::format("data_offsets [{}, {}] leave the {} bytes of data", begin, end, data.size()));
  }
  uint64_t wanted_bytes = 0;
  if (__builtin_mul_overflow(shape->elements(), type->bytes, &wanted_bytes) || wanted_bytes != end - begin) {
    return MalformedEntry(name,
                          fmt::format("{} {} takes other than {} bytes", type->name, shape->ToString(), end - begin));
  }
  extents.push_back({begin, end});
  const std::span<const std::byte> bytes = data.subspan(begin, end - begin);
  return StateArchive::Entry{type->type, *shape, {bytes.begin(), bytes.end()}};
}

absl::Status ParseTexts(const json& metadata, StateArchive& archive) {
  if (!metadata.is_object()) return Malformed("__metadata__ is not an object");
  for (const auto& [name, text] : metadata.items()) {
    if (!text.is_string()) return Malformed(fmt::format("__metadata__ {}: not a text", name));
    archive.texts.emplace(name, text.get_ref<const std::string&>());
  }
  return absl::OkStatus();
}

// Every byte of the data belongs to exactly one tensor.
absl::Status CheckCover(std::vector<Extent> extents, uint64_t data_bytes) {
  std::sort(extents.begin(), extents.end());
  uint64_t covered = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != covered) {
      return Malformed(fmt::format("{} at byte {} of the data", extent.begin > covered ? "gap" : "overlap", covered));
    }
    covered = extent.end;
  }
  if (covered != data_bytes) return Malformed(fmt::format("{} bytes of data, tensors cover {}", data_bytes, covered));
  return absl::OkStatus();
}

}  // namespace

std::vector<std::byte> SerializeStateArchive(const StateArchive& archive) {
  assert(!archive.tensors.contains(kMetadata) && "reserved by the format");
  json header = json::object();
  if (!archive.texts.empty()) header[kMetadata] = archive.texts;
  uint64_t offset = 0;
  for (const TypeFacts& type : kTypes) {
    for (const auto& [name, entry] : archive.tensors) {
      if (entry.type != type.type) continue;
      assert(entry.bytes.size() == entry.shape.elements() * type.bytes);
      const std::span<const uint64_t> dimensions = entry.shape.dimensions();
      header[name] = {{"dtype", type.name},
                      {"shape", std::vector<uint64_t>(dimensions.begin(), dimensions.end())},
                      {"data_offsets", {offset, offset + entry.bytes.size()}}};
      offset += entry.bytes.size();
    }
  }
  std::string text = header.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data starts aligned

  std::vector<std::byte> bytes(kLengthBytes + text.size() + offset);
  ByteWriter writer(bytes);
  writer.Put<uint64_t>(text.size());
  writer.PutBytes(std::as_bytes(std::span<const char>(text)));
  for (const TypeFacts& type : kTypes) {
    for (const auto& [name, entry] : archive.tensors) {
      if (entry.type == type.type) writer.PutBytes(entry.bytes);
    }
  }
  assert(writer.Finish("state archive").ok() && writer.rest().empty());
  return bytes;
}

absl::StatusOr<StateArchive> ParseStateArchive(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const auto header_bytes = reader.Get<uint64_t>();
  const std::span<const std::byte> header_text = reader.Take(header_bytes);
  if (!reader.ok() || header_bytes > kMaxHeaderBytes) {
    return Malformed(fmt::format("header of {} bytes in a file of {}", header_bytes, bytes.size()));
  }
  const std::span<const std::byte> data = reader.Take(reader.remaining());
  const auto header =
      ParseHeader(std::string_view(reinterpret_cast<const char*>(header_text.data()), header_text.size()));
  if (!header) return Malformed("the header is not a JSON object with unique keys");

  StateArchive archive;
  std::vector<Extent> extents;
  for (const auto& [name, value] : header->items()) {
    if (name == kMetadata) {
      LACONIC_RETURN_IF_ERROR(ParseTexts(value, archive));
      continue;
    }
    LACONIC_ASSIGN_OR_RETURN(StateArchive::Entry entry, ParseEntry(name, value, data, extents));
    archive.tensors.emplace(name, std::move(entry));
  }
  LACONIC_RETURN_IF_ERROR(CheckCover(std::move(extents), data.size()));
  return archive;
}

}  // namespace laconic
