#include "optim/federated/mapped_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "fmt/format.h"
#include "laconic/base/status.h"

namespace laconic::internal {

size_t PageBytes() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

absl::Status SystemError(const std::string& path, int error) {
  const std::string text = fmt::format("{}: {}", path, std::generic_category().message(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(text);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(text);
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EFBIG:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::InternalError(text);
  }
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<FileDescriptor> FileDescriptor::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return SystemError(path, errno);
  return FileDescriptor(fd);
}

size_t FileDescriptor::disk_bytes() const {
  struct stat status {};
  constexpr size_t kBlockBytes = 512;  // whatever the file system's own
  return fd_ >= 0 && fstat(fd_, &status) == 0 ? static_cast<size_t>(status.st_blocks) * kBlockBytes : 0;
}

MappedMemory::~MappedMemory() {
  if (!memory_.empty()) munmap(memory_.data(), memory_.size());
}

absl::StatusOr<MappedMemory> MappedMemory::Anonymous(size_t bytes) {
  if (bytes == 0) return MappedMemory();
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return SystemError(fmt::format("{} bytes of memory", bytes), errno);
  return MappedMemory({static_cast<std::byte*>(memory), bytes});
}

absl::StatusOr<MappedMemory> MappedMemory::File(const FileDescriptor& file, size_t bytes) {
  if (bytes == 0) return MappedMemory();
  if (ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return SystemError("client file", errno);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  // Clients come in no order: what lies around the one that is looked at would be read, or filled with zeros, in vain.
  if (memory != MAP_FAILED) madvise(memory, bytes, MADV_RANDOM);
  if (memory == MAP_FAILED) return SystemError(fmt::format("client file of {} bytes", bytes), errno);
  return MappedMemory({static_cast<std::byte*>(memory), bytes});
}

void MappedMemory::Drop(size_t first, size_t count) const {
  if (count > 0) madvise(memory_.data() + first, count, MADV_DONTNEED);
}

}  // namespace laconic::internal
