// Zero pages that cost nothing until written, from nowhere or from a file.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace laconic::internal {

// An open file; closed at the end. Movable.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();

  // Read and write, made with mode 0600 where there is none. Errors: the path and the system's message.
  static absl::StatusOr<FileDescriptor> Open(const std::string& path);

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  size_t disk_bytes() const;  // what the file system has set aside for it

 private:
  int fd_ = -1;
};

// Movable; unmapped at the end.
class MappedMemory {
 public:
  MappedMemory() = default;
  MappedMemory(MappedMemory&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}
  MappedMemory& operator=(MappedMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~MappedMemory();

  // Anonymous pages; none are taken before they are written.
  static absl::StatusOr<MappedMemory> Anonymous(size_t bytes);
  // The first `bytes` bytes of the file, which is made that long; writes go to it.
  static absl::StatusOr<MappedMemory> File(const FileDescriptor& file, size_t bytes);

  std::span<std::byte> bytes() const { return memory_; }

  // Of a file's mapping: takes the pages out of this process's memory; what was written stays the file's.
  //   first: a multiple of PageBytes().
  void Drop(size_t first, size_t count) const;

 private:
  explicit MappedMemory(std::span<std::byte> memory) : memory_(memory) {}
  std::span<std::byte> memory_;
};

size_t PageBytes();

// "<path>: No space left on device", as NotFound, PermissionDenied, ResourceExhausted or Internal.
absl::Status SystemError(const std::string& path, int error);

}  // namespace laconic::internal
