#include "laconic/base/state.h"

#include <fmt/format.h>

#include <cassert>
#include <cstring>

#include "laconic/base/status.h"

namespace laconic {
namespace {

std::string_view TypeName(StateType type) {
  switch (type) {
    case StateType::kF32:
      return "F32";
    case StateType::kU64:
      return "U64";
    case StateType::kU8:
      return "U8";
  }
  return "?";
}

void Insert(StateArchive& archive, std::string name, StateType type, const Shape& shape,
            std::span<const std::byte> bytes) {
  [[maybe_unused]] const bool inserted =
      archive.tensors
          .try_emplace(std::move(name), StateArchive::Entry{type, shape, std::vector(bytes.begin(), bytes.end())})
          .second;
  assert(inserted && "state names must be unique");
}

absl::Status Missing(std::string_view name) {
  return absl::NotFoundError(fmt::format("state {}: not in the archive", name));
}

absl::StatusOr<const StateArchive::Entry*> Find(const StateArchive& archive, const std::string& name, StateType type) {
  const auto found = archive.tensors.find(name);
  if (found == archive.tensors.end()) return Missing(name);
  if (found->second.type != type) {
    return absl::DataLossError(
        fmt::format("state {}: has type {}, wanted {}", name, TypeName(found->second.type), TypeName(type)));
  }
  return &found->second;
}

absl::Status WrongCount(std::string_view name, uint64_t has, uint64_t wanted) {
  return absl::DataLossError(fmt::format("state {}: has {} elements, wanted {}", name, has, wanted));
}

std::string Join(const std::string& prefix, std::string_view name) { return fmt::format("{}{}", prefix, name); }

}  // namespace

StateWriter StateWriter::Scope(std::string_view name) const {
  return StateWriter(archive_, fmt::format("{}{}/", prefix_, name));
}

void StateWriter::Floats(std::string_view name, std::span<const float> values, const Shape& shape) {
  assert(shape.elements() == values.size());
  Insert(*archive_, Join(prefix_, name), StateType::kF32, shape, std::as_bytes(values));
}

void StateWriter::U64(std::string_view name, uint64_t value) {
  Insert(*archive_, Join(prefix_, name), StateType::kU64, Shape(), std::as_bytes(std::span(&value, 1)));
}

void StateWriter::Bytes(std::string_view name, std::span<const std::byte> bytes) {
  Insert(*archive_, Join(prefix_, name), StateType::kU8, Shape::Flat(bytes.size()), bytes);
}

void StateWriter::Text(std::string_view name, std::string_view text) {
  [[maybe_unused]] const bool inserted = archive_->texts.try_emplace(Join(prefix_, name), text).second;
  assert(inserted && "state names must be unique");
}

StateReader StateReader::Scope(std::string_view name) const {
  return StateReader(archive_, fmt::format("{}{}/", prefix_, name));
}

bool StateReader::Has(std::string_view name) const {
  const std::string full = Join(prefix_, name);
  return archive_->tensors.contains(full) || archive_->texts.contains(full);
}

absl::Status StateReader::Floats(std::string_view name, std::span<float> out) const {
  LACONIC_ASSIGN_OR_RETURN(const std::span<const float> values, Floats(name));
  if (values.size() != out.size()) return WrongCount(Join(prefix_, name), values.size(), out.size());
  if (!out.empty()) std::memcpy(out.data(), values.data(), values.size_bytes());
  return absl::OkStatus();
}

absl::StatusOr<std::span<const float>> StateReader::Floats(std::string_view name) const {
  LACONIC_ASSIGN_OR_RETURN(const StateArchive::Entry* entry, Find(*archive_, Join(prefix_, name), StateType::kF32));
  return std::span(reinterpret_cast<const float*>(entry->bytes.data()), entry->bytes.size() / sizeof(float));
}

absl::StatusOr<uint64_t> StateReader::U64(std::string_view name) const {
  LACONIC_ASSIGN_OR_RETURN(const StateArchive::Entry* entry, Find(*archive_, Join(prefix_, name), StateType::kU64));
  if (entry->bytes.size() != sizeof(uint64_t)) {
    return WrongCount(Join(prefix_, name), entry->bytes.size() / sizeof(uint64_t), 1);
  }
  uint64_t value = 0;
  std::memcpy(&value, entry->bytes.data(), sizeof(value));
  return value;
}

absl::StatusOr<std::span<const std::byte>> StateReader::Bytes(std::string_view name) const {
  LACONIC_ASSIGN_OR_RETURN(const StateArchive::Entry* entry, Find(*archive_, Join(prefix_, name), StateType::kU8));
  return std::span<const std::byte>(entry->bytes);
}

absl::StatusOr<std::string> StateReader::Text(std::string_view name) const {
  const std::string full = Join(prefix_, name);
  const auto found = archive_->texts.find(full);
  if (found == archive_->texts.end()) return Missing(full);
  return found->second;
}

}  // namespace laconic
