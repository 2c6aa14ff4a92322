// What lasts from step to step and can be saved: named tensors and named texts, stored as one safetensors file.
//
// Names are paths with '/' between their parts ("sync/fc1.weight/error"). Every stateful class has
//   void Save(StateWriter& out) const;  absl::Status Load(const StateReader& in);
// and writes under the prefix its owner gave it (StateWriter::Scope). Format:
// https://github.com/huggingface/safetensors (8-byte little-endian header length, JSON header, data); texts go to
// "__metadata__". Names and texts are UTF-8 (other bytes are replaced by U+FFFD when written).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/shape.h"

namespace laconic {

enum class StateType { kF32, kU64, kU8 };

// Everything of one file, in memory. A value type; one thread at a time.
struct StateArchive {
  struct Entry {
    StateType type = StateType::kF32;
    Shape shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Entry, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> texts;
};

// Writes into an archive below a prefix. Names must be unique (asserted). One thread at a time.
class StateWriter {
 public:
  explicit StateWriter(StateArchive* archive, std::string prefix = "")
      : archive_(archive), prefix_(std::move(prefix)) {}
  StateWriter Scope(std::string_view name) const;  // everything written through it goes below "<prefix><name>/"

  void Floats(std::string_view name, std::span<const float> values, const Shape& shape);
  void Floats(std::string_view name, std::span<const float> values) {
    Floats(name, values, Shape::Flat(values.size()));
  }
  void U64(std::string_view name, uint64_t value);
  void Bytes(std::string_view name, std::span<const std::byte> bytes);
  void Text(std::string_view name, std::string_view text);

 private:
  StateArchive* archive_;
  std::string prefix_;
};

// Reads from an archive below a prefix. Errors name the full entry: NotFound when it is missing, DataLoss when its type
// or its element count is not the one asked for (both are given). One thread at a time; the archive must outlive it.
class StateReader {
 public:
  explicit StateReader(const StateArchive* archive, std::string prefix = "")
      : archive_(archive), prefix_(std::move(prefix)) {}
  StateReader Scope(std::string_view name) const;

  bool Has(std::string_view name) const;
  absl::Status Floats(std::string_view name, std::span<float> out) const;      // exactly out.size() elements
  absl::StatusOr<std::span<const float>> Floats(std::string_view name) const;  // as they lie in the archive
  absl::StatusOr<uint64_t> U64(std::string_view name) const;
  absl::StatusOr<std::span<const std::byte>> Bytes(std::string_view name) const;
  absl::StatusOr<std::string> Text(std::string_view name) const;
  const std::string& prefix() const { return prefix_; }

 private:
  const StateArchive* archive_;
  std::string prefix_;
};

// The archive as the bytes of a safetensors file, and back. ParseStateArchive takes untrusted bytes: any byte string
// gives a value or DataLoss, in memory linear in its length and time linear but for a sort. Offsets must cover the data
// exactly, without overlap or gap; names must be unique. Tensors lie widest element first, each aligned to its element.
std::vector<std::byte> SerializeStateArchive(const StateArchive& archive);
absl::StatusOr<StateArchive> ParseStateArchive(std::span<const std::byte> bytes);

// Durable replacement of `path`: written to "<path>.tmp" (mode 0600), fsync, rename, fsync of the folder. On any error
// the old file is as it was and the temporary one is removed (only the last step, the folder's fsync, may fail with the
// new file in place). Errors carry the path and the system's message: NotFound, PermissionDenied, ResourceExhausted
// (disk full), else Internal.
absl::Status WriteFileAtomically(const std::string& path, std::span<const std::byte> bytes);
absl::StatusOr<std::vector<std::byte>> ReadFile(const std::string& path);

absl::Status WriteStateFile(const std::string& path, const StateArchive& archive);
absl::StatusOr<StateArchive> ReadStateFile(const std::string& path);

}  // namespace laconic
