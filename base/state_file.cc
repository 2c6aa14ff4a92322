// State archives on disk: whole files read, and durably replaced.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "laconic/base/state.h"
#include "laconic/base/status.h"

namespace laconic {
namespace {

absl::Status SystemError(std::string_view action, const std::string& path, int error) {
  const std::string message = fmt::format("{} {}: {}", action, path, std::generic_category().message(error));
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InternalError(message);
  }
}

// An open file descriptor, closed at the end of its life.
class File {
 public:
  static absl::StatusOr<File> Open(const std::string& path, int flags, mode_t mode = 0) {
    int descriptor = -1;
    do descriptor = open(path.c_str(), flags | O_CLOEXEC, mode);
    while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) return SystemError("open", path, errno);
    return File(descriptor);
  }
  File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  File& operator=(File&&) = delete;
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }

  int get() const { return descriptor_; }

  // Closes now, for the error that only close() reports.
  absl::Status Close(const std::string& path) {
    if (close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) return SystemError("close", path, errno);
    return absl::OkStatus();
  }

 private:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

absl::Status Sync(const File& file, const std::string& path) {
  int result = 0;
  do result = fsync(file.get());
  while (result != 0 && errno == EINTR);
  return result == 0 ? absl::OkStatus() : SystemError("fsync", path, errno);
}

absl::Status WriteDurably(const std::string& path, std::span<const std::byte> bytes) {
  // A file left by a killed process is replaced, never followed to where it may point.
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return SystemError("remove", path, errno);
  LACONIC_ASSIGN_OR_RETURN(File file, File::Open(path, O_WRONLY | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR));
  while (!bytes.empty()) {
    const ssize_t written = write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError("write", path, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  LACONIC_RETURN_IF_ERROR(Sync(file, path));
  return file.Close(path);
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, std::span<const std::byte> bytes) {
  const std::string temporary = path + ".tmp";
  absl::Status status = WriteDurably(temporary, bytes);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) status = SystemError("rename to", path, errno);
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  const std::string folder = FolderOf(path);
  LACONIC_ASSIGN_OR_RETURN(const File opened, File::Open(folder, O_RDONLY | O_DIRECTORY));
  return Sync(opened, folder);
}

absl::StatusOr<std::vector<std::byte>> ReadFile(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const File file, File::Open(path, O_RDONLY));
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0) return SystemError("stat", path, errno);
  // One byte more than the file has, so that the end is seen without growing. Pipes and the like have no length and
  // grow.
  std::vector<std::byte> bytes(static_cast<size_t>(facts.st_size) + 1);
  size_t used = 0;
  for (;;) {
    if (used == bytes.size()) bytes.resize(2 * bytes.size());
    const ssize_t got = read(file.get(), bytes.data() + used, bytes.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError("read", path, errno);
    if (got == 0) break;
    used += static_cast<size_t>(got);
  }
  bytes.resize(used);
  return bytes;
}

absl::Status WriteStateFile(const std::string& path, const StateArchive& archive) {
  return WriteFileAtomically(path, SerializeStateArchive(archive));
}

absl::StatusOr<StateArchive> ReadStateFile(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFile(path));
  absl::StatusOr<StateArchive> archive = ParseStateArchive(bytes);
  if (!archive.ok()) return Annotate(archive.status(), path);
  return archive;
}

}  // namespace laconic
