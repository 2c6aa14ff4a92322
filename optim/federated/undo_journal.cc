#include "optim/federated/undo_journal.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "laconic/base/hash.h"
#include "laconic/base/state.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr std::string_view kIndexName = "clients.checkpoints", kLogPrefix = "clients.undo-";

struct RecordHeader {
  uint32_t client = 0;
  uint32_t had_vectors = 0;
  uint64_t hash = 0;

  uint64_t Hash(std::span<const std::byte> vectors) const {
    return Hash64(vectors, (uint64_t{had_vectors} << 32) | client);
  }
};
static_assert(sizeof(RecordHeader) == 16);  // as it lies in the log

absl::Status WriteAt(const FileDescriptor& file, std::span<const std::byte> bytes, size_t at, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(path, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
    at += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

// As many bytes from `at` on as there are.
absl::StatusOr<std::span<const std::byte>> ReadAt(const FileDescriptor& file, std::span<std::byte> room, size_t at,
                                                  const std::string& path) {
  size_t filled = 0;
  while (filled < room.size()) {
    const ssize_t bytes =
        pread(file.get(), room.data() + filled, room.size() - filled, static_cast<off_t>(at + filled));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return SystemError(path, errno);
    if (bytes == 0) break;
    filled += static_cast<size_t>(bytes);
  }
  return room.first(filled);
}

}  // namespace

UndoJournal::UndoJournal(const ClientStoreOptions& options, size_t client_bytes)
    : options_(options), client_bytes_(client_bytes) {}

std::string UndoJournal::IndexPath() const { return fmt::format("{}/{}", options_.folder, kIndexName); }
std::string UndoJournal::LogPath(uint64_t number) const {
  return fmt::format("{}/{}{}", options_.folder, kLogPrefix, number);
}

absl::Status UndoJournal::Clear() {
  entries_.clear();
  log_ = FileDescriptor();
  std::error_code error;
  std::filesystem::remove(IndexPath(), error);  // first: without it the logs mean nothing
  if (error) return SystemError(IndexPath(), error.value());
  for (const auto& file : std::filesystem::directory_iterator(options_.folder, error)) {
    if (!file.path().filename().string().starts_with(kLogPrefix)) continue;
    std::filesystem::remove(file.path(), error);
  }
  return error ? SystemError(options_.folder, error.value()) : absl::OkStatus();
}

absl::Status UndoJournal::Record(uint32_t client, std::span<const std::byte> vectors) {
  RecordHeader header{.client = client, .had_vectors = vectors.empty() ? 0u : 1u};
  header.hash = header.Hash(vectors);
  const std::lock_guard lock(mutex_);
  record_.resize(sizeof(header) + client_bytes_);
  const auto record = std::span(record_).first(sizeof(header) + vectors.size());
  std::memcpy(record.data(), &header, sizeof(header));
  std::copy(vectors.begin(), vectors.end(), record.begin() + sizeof(header));
  LACONIC_RETURN_IF_ERROR(WriteAt(log_, record, log_bytes_, LogPath(entries_.back().log)));
  log_bytes_ += record.size();
  return absl::OkStatus();
}

absl::Status UndoJournal::Checkpoint(uint64_t mark, std::span<const uint8_t> touched) {
  std::vector<Entry> entries;
  if (!entries_.empty()) {
    if (fsync(log_.get()) != 0) return SystemError(LogPath(entries_.back().log), errno);
    entries.push_back(entries_.back());
  }
  entries.push_back({.mark = mark, .touched = {touched.begin(), touched.end()}});
  return Replace(std::move(entries));
}

absl::Status UndoJournal::Replace(std::vector<Entry> entries) {
  uint64_t number = 0;
  for (const Entry& entry : entries_) number = std::max(number, entry.log + 1);
  entries.back().log = number;
  std::error_code error;
  std::filesystem::remove(LogPath(number), error);  // of a crash between this and the index
  LACONIC_ASSIGN_OR_RETURN(FileDescriptor log, FileDescriptor::Open(LogPath(number)));

  StateArchive archive;
  StateWriter out(&archive);
  out.U64("clients", options_.clients);
  out.U64("vectors", options_.vectors);
  out.U64("elements", options_.elements);
  out.U64("checkpoints", entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    StateWriter entry = out.Scope(fmt::format("{}", i));
    entry.U64("mark", entries[i].mark);
    entry.U64("log", entries[i].log);
    entry.Bytes("touched", std::as_bytes(std::span(entries[i].touched)));
  }
  LACONIC_RETURN_IF_ERROR(WriteStateFile(IndexPath(), archive));

  std::swap(entries_, entries);
  log_ = std::move(log);
  log_bytes_ = 0;
  for (const Entry& old : entries) {
    const bool kept = std::ranges::any_of(entries_, [&](const Entry& entry) { return entry.log == old.log; });
    if (!kept) std::filesystem::remove(LogPath(old.log), error);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<UndoJournal::Entry>> UndoJournal::ReadIndex() const {
  LACONIC_ASSIGN_OR_RETURN(const StateArchive archive, ReadStateFile(IndexPath()));
  const StateReader in(&archive);
  for (const auto& [name, expected] : {std::pair<std::string_view, uint64_t>{"clients", options_.clients},
                                       {"vectors", options_.vectors},
                                       {"elements", options_.elements}}) {
    LACONIC_ASSIGN_OR_RETURN(const uint64_t found, in.U64(name));
    if (found == expected) continue;
    return absl::DataLossError(fmt::format("{}: {} = {}, this store has {}", IndexPath(), name, found, expected));
  }
  LACONIC_ASSIGN_OR_RETURN(const uint64_t count, in.U64("checkpoints"));
  if (count < 1 || count > 2) return absl::DataLossError(fmt::format("{}: {} checkpoints", IndexPath(), count));
  std::vector<Entry> entries(count);
  for (size_t i = 0; i < count; ++i) {
    const StateReader entry = in.Scope(fmt::format("{}", i));
    LACONIC_ASSIGN_OR_RETURN(entries[i].mark, entry.U64("mark"));
    LACONIC_ASSIGN_OR_RETURN(entries[i].log, entry.U64("log"));
    LACONIC_ASSIGN_OR_RETURN(const std::span<const std::byte> touched, entry.Bytes("touched"));
    if (touched.size() != options_.clients) {
      return absl::DataLossError(fmt::format("{}: {} clients", IndexPath(), touched.size()));
    }
    for (const std::byte value : touched) entries[i].touched.push_back(value == std::byte{0} ? 0 : 1);
  }
  return entries;
}

absl::Status UndoJournal::Replay(uint64_t log, Undo undo) {
  const std::string path = LogPath(log);
  if (!std::filesystem::exists(path)) return absl::DataLossError(fmt::format("{} is missing", path));
  LACONIC_ASSIGN_OR_RETURN(const FileDescriptor file, FileDescriptor::Open(path));
  record_.resize(sizeof(RecordHeader) + client_bytes_);
  for (size_t at = 0;;) {
    LACONIC_ASSIGN_OR_RETURN(const std::span<const std::byte> record, ReadAt(file, record_, at, path));
    if (record.size() < sizeof(RecordHeader)) return absl::OkStatus();  // the end, or broken off
    RecordHeader header;
    std::memcpy(&header, record.data(), sizeof(header));
    if (header.client >= options_.clients || header.had_vectors > 1) {
      return absl::DataLossError(fmt::format("{}: byte {} begins no record", path, at));
    }
    const size_t bytes = header.had_vectors * client_bytes_;
    if (record.size() < sizeof(header) + bytes) return absl::OkStatus();  // broken off
    const std::span<const std::byte> vectors = record.subspan(sizeof(header), bytes);
    if (header.Hash(vectors) != header.hash) {
      return absl::DataLossError(
          fmt::format("{}: checksum of the record at byte {}, client {}", path, at, header.client));
    }
    undo(header.client, vectors);
    at += sizeof(header) + bytes;
  }
}

absl::StatusOr<std::vector<UndoJournal::Entry>> UndoJournal::ReadIndexWith(uint64_t mark) const {
  LACONIC_ASSIGN_OR_RETURN(std::vector<Entry> entries, ReadIndex());
  std::vector<uint64_t> marks;
  for (const Entry& entry : entries) marks.push_back(entry.mark);
  if (std::ranges::count(marks, mark) > 0) return entries;
  return absl::NotFoundError(
      fmt::format("{} has no checkpoint {}; it has {}", IndexPath(), mark, fmt::join(marks, " and ")));
}

absl::Status UndoJournal::Find(uint64_t mark) const { return ReadIndexWith(mark).status(); }

absl::StatusOr<std::vector<uint8_t>> UndoJournal::Restore(uint64_t mark, Undo undo,
                                                          absl::FunctionRef<absl::Status()> flush) {
  LACONIC_ASSIGN_OR_RETURN(std::vector<Entry> entries, ReadIndexWith(mark));
  entries_ = entries;
  // From the newest on: each log leads from the checkpoint after its own, or from now, to its own.
  for (;; entries.pop_back()) {
    LACONIC_RETURN_IF_ERROR(Replay(entries.back().log, undo));
    if (entries.back().mark == mark) break;
  }
  LACONIC_RETURN_IF_ERROR(flush());
  LACONIC_RETURN_IF_ERROR(Replace(std::move(entries)));
  return entries_.back().touched;
}

size_t UndoJournal::disk_bytes() const { return log_.disk_bytes(); }

}  // namespace laconic::internal
