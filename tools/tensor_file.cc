#include "tools/tensor_file.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>

#include "compressors/float16.h"
#include "fmt/format.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"

namespace laconic::tools {
namespace {

constexpr std::string_view kNpyMagic = "\x93NUMPY";

bool IsNpy(const std::string& path) { return path.ends_with(".npy"); }

// The text after `'key':` in a .npy header, a Python dict literal, without leading blanks; nullopt if there is no such
// key.
std::optional<std::string_view> DictValue(std::string_view dict, std::string_view key) {
  size_t at = dict.find(fmt::format("'{}'", key));
  if (at == std::string_view::npos) return std::nullopt;
  at = dict.find(':', at);
  if (at == std::string_view::npos) return std::nullopt;
  at = dict.find_first_not_of(' ', at + 1);
  return at == std::string_view::npos ? std::nullopt : std::optional(dict.substr(at));
}

// A tuple of whole numbers: "()", "(3,)", "(3, 4)".
std::optional<std::vector<uint64_t>> ParseTuple(std::string_view text) {
  if (!text.starts_with('(')) return std::nullopt;
  std::vector<uint64_t> numbers;
  size_t at = 1;
  while (true) {
    at = text.find_first_not_of(" ,", at);
    if (at == std::string_view::npos) return std::nullopt;
    if (text[at] == ')') return numbers;
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), number);
    if (error != std::errc()) return std::nullopt;
    numbers.push_back(number);
    at = end - text.data();
  }
}

template <typename Stored, typename Convert>
std::vector<float> Converted(std::span<const std::byte> bytes, Convert convert) {
  std::vector<float> values(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = convert(stored);
  }
  return values;
}

std::vector<float> RawFloats(std::span<const std::byte> bytes) {
  return Converted<float>(bytes, [](float value) { return value; });
}

absl::StatusOr<TensorFile> ParseNpy(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const std::span<const std::byte> magic = reader.Take(kNpyMagic.size());
  if (!reader.ok() || std::memcmp(magic.data(), kNpyMagic.data(), kNpyMagic.size()) != 0) {
    return absl::InvalidArgumentError("does not start with the .npy magic \"\\x93NUMPY\"");
  }
  const auto major = reader.Get<uint8_t>();
  reader.Get<uint8_t>();
  if (major < 1 || major > 3) return absl::InvalidArgumentError(fmt::format(".npy format {}, not 1 to 3", major));
  const uint64_t header_bytes = major == 1 ? reader.Get<uint16_t>() : reader.Get<uint32_t>();
  const std::span<const std::byte> header = reader.Take(header_bytes);
  if (!reader.ok()) return absl::InvalidArgumentError("ends inside the .npy header");
  const std::string_view dict(reinterpret_cast<const char*>(header.data()), header.size());

  const std::optional<std::string_view> type = DictValue(dict, "descr"), order = DictValue(dict, "fortran_order"),
                                        shape = DictValue(dict, "shape");
  const auto dimensions = shape ? ParseTuple(*shape) : std::nullopt;
  if (!type || !order || !dimensions)
    return absl::InvalidArgumentError(".npy header lacks descr, fortran_order or shape");
  if (!order->starts_with("False")) {
    return absl::InvalidArgumentError("Fortran order; save numpy.ascontiguousarray(x) instead");
  }
  TensorFile file;
  LACONIC_ASSIGN_OR_RETURN(file.shape, Shape::Make(*dimensions));
  const std::string_view quoted = type->substr(0, type->find_first_of(",}"));
  const size_t width = quoted.starts_with("'<f4'")   ? 4
                       : quoted.starts_with("'<f8'") ? 8
                       : quoted.starts_with("'<f2'") ? 2
                                                     : 0;
  if (width == 0) {
    return absl::InvalidArgumentError(fmt::format("element type {}; read are '<f4', '<f8' and '<f2'", quoted));
  }
  if (reader.remaining() / width != file.shape.elements() || reader.remaining() % width != 0) {
    return absl::InvalidArgumentError(fmt::format("shape {} of {}-byte elements, but {} bytes of data",
                                                  file.shape.ToString(), width, reader.remaining()));
  }
  const std::span<const std::byte> data = reader.Take(reader.remaining());
  if (width == 4) {
    file.values = RawFloats(data);
  } else if (width == 8) {
    file.values = Converted<double>(data, [](double value) { return static_cast<float>(value); });
    file.notice = "float64 rounded to float32";
  } else {
    file.values = Converted<uint16_t>(data, HalfToFloat);
    file.notice = "float16 widened to float32";
  }
  return file;
}

absl::StatusOr<TensorFile> ParseRaw(std::span<const std::byte> bytes) {
  if (bytes.size() % sizeof(float) != 0) {
    return absl::InvalidArgumentError(fmt::format("{} bytes are no whole number of float32 ({} left over)",
                                                  bytes.size(), bytes.size() % sizeof(float)));
  }
  return TensorFile{.shape = Shape::Flat(bytes.size() / sizeof(float)), .values = RawFloats(bytes)};
}

absl::Status CheckValues(std::span<const float> values) {
  if (values.empty()) return absl::InvalidArgumentError("holds no elements");
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) return absl::InvalidArgumentError(fmt::format("element {} is {}", i, values[i]));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorFile> ReadTensorFile(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFile(path));
  absl::StatusOr<TensorFile> file = IsNpy(path) ? ParseNpy(bytes) : ParseRaw(bytes);
  if (!file.ok()) return Annotate(file.status(), path);
  LACONIC_RETURN_IF_ERROR(Annotate(CheckValues(file->values), path));
  return file;
}

absl::Status WriteTensorFile(const std::string& path, const Shape& shape, std::span<const float> values) {
  std::string header;
  if (IsNpy(path)) {
    std::string dimensions;
    for (uint64_t dimension : shape.dimensions()) dimensions += fmt::format("{}, ", dimension);
    std::string dict = fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", dimensions);
    // Magic, version, length and dict together are a multiple of 64 bytes, the dict ending in a newline.
    const size_t before = kNpyMagic.size() + 4;
    dict.resize((before + dict.size() + 1 + 63) / 64 * 64 - before - 1, ' ');
    dict += '\n';
    header = kNpyMagic;
    header += {'\x01', '\x00', static_cast<char>(dict.size() & 0xff), static_cast<char>(dict.size() >> 8)};
    header += dict;
  }
  std::vector<std::byte> bytes(header.size() + values.size_bytes());
  std::memcpy(bytes.data(), header.data(), header.size());
  std::memcpy(bytes.data() + header.size(), values.data(), values.size_bytes());
  return WriteFileAtomically(path, bytes);
}

}  // namespace laconic::tools
