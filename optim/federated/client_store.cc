#include "laconic/optim/federated/client_store.h"

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "optim/federated/mapped_memory.h"
#include "optim/federated/undo_journal.h"

namespace laconic {
namespace {

using internal::FileDescriptor;
using internal::MappedMemory;
using internal::UndoJournal;

constexpr size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Where a client's vectors lie: each at the start of a cache line, and in a file the client's on pages of their own,
// which can leave memory one client at a time.
struct Layout {
  size_t vector_bytes = 0;
  size_t client_bytes = 0;

  static absl::StatusOr<Layout> Of(const ClientStoreOptions& options) {
    constexpr size_t kLineBytes = 64, kLargest = std::numeric_limits<ptrdiff_t>::max();
    const bool fits =
        options.clients > 0 && options.elements < kLargest / sizeof(float) / 2 &&
        options.vectors < kLargest / (options.elements * sizeof(float) + kLineBytes) / options.clients / 2;
    if (!fits) {
      return absl::ResourceExhaustedError(fmt::format("{} clients with {} vectors of {} floats do not fit an address",
                                                      options.clients, options.vectors, options.elements));
    }
    Layout layout{.vector_bytes = RoundUp(options.elements * sizeof(float), kLineBytes)};
    layout.client_bytes = layout.vector_bytes * options.vectors;
    if (!options.folder.empty()) layout.client_bytes = RoundUp(layout.client_bytes, internal::PageBytes());
    return layout;
  }
};

class MappedStore : public ClientStore {
 public:
  MappedStore(const ClientStoreOptions& options, const Layout& layout)
      : ClientStore(options), layout_(layout), touched_(options.clients) {
    const std::vector<float> zeros(options.elements);
    for (size_t v = 0; v < options.vectors; ++v) {
      hash_of_zeros_ = Hash64(std::as_bytes(std::span(zeros)), hash_of_zeros_);
    }
  }

  uint32_t touched_clients() const override { return touched_count_; }

  uint64_t Hash(uint32_t client) const override {
    if (touched_[client] == 0) return hash_of_zeros_;
    uint64_t hash = 0;
    for (const std::span<float> vector : Views(client)) hash = Hash64(std::as_bytes(vector), hash);
    Release(client);
    return hash;
  }

 protected:
  // The client is done with for now.
  virtual void Release(uint32_t) const {}

  void Map(MappedMemory memory) {
    memory_ = std::move(memory);
    views_.clear();
    for (size_t client = 0; client < options().clients; ++client) {
      for (size_t v = 0; v < options().vectors; ++v) {
        std::byte* first = memory_.bytes().data() + client * layout_.client_bytes + v * layout_.vector_bytes;
        views_.emplace_back(reinterpret_cast<float*>(first), options().elements);
      }
    }
  }

  absl::Status CheckClient(uint32_t client) const {
    if (client < options().clients) return absl::OkStatus();
    return absl::OutOfRangeError(fmt::format("client {} of {}", client, options().clients));
  }

  void Touch(uint32_t client) {
    if (touched_[client] == 0) ++touched_count_;
    touched_[client] = 1;
  }

  size_t touched_bytes() const { return touched_count_ * layout_.client_bytes; }
  size_t all_bytes() const { return options().clients * layout_.client_bytes; }
  std::span<std::byte> Bytes(uint32_t client) const {
    return memory_.bytes().subspan(client * layout_.client_bytes, layout_.client_bytes);
  }
  std::span<const std::span<float>> Views(uint32_t client) const {
    return std::span(views_).subspan(client * options().vectors, options().vectors);
  }

  const Layout layout_;
  MappedMemory memory_;
  std::vector<uint8_t> touched_;  // by client: a byte each, so that threads do not share one
  std::atomic<uint32_t> touched_count_ = 0;

 private:
  std::vector<std::span<float>> views_;  // of all clients' vectors
  uint64_t hash_of_zeros_ = 0;
};

class MemoryStore final : public MappedStore {
 public:
  using MappedStore::all_bytes;
  using MappedStore::Map;
  using MappedStore::MappedStore;

  absl::StatusOr<std::span<const std::span<float>>> Begin(uint32_t client) override {
    LACONIC_RETURN_IF_ERROR(CheckClient(client));
    Touch(client);
    return Views(client);
  }
  void End(uint32_t) override {}

  absl::Status Checkpoint(uint64_t) override { return NoFolder(); }
  absl::Status Restore(uint64_t) override { return NoFolder(); }
  size_t memory_bytes() const override { return touched_bytes(); }
  size_t disk_bytes() const override { return 0; }

 private:
  static absl::Status NoFolder() {
    return absl::FailedPreconditionError("clients' vectors lie in memory; a checkpoint of them needs a folder");
  }
};

class FileStore final : public MappedStore {
 public:
  FileStore(const ClientStoreOptions& options, const Layout& layout, FileDescriptor file)
      : MappedStore(options, layout),
        file_(std::move(file)),
        journal_(options, layout.client_bytes),
        recorded_(options.clients) {}

  absl::StatusOr<std::span<const std::span<float>>> Begin(uint32_t client) override {
    LACONIC_RETURN_IF_ERROR(CheckClient(client));
    LACONIC_RETURN_IF_ERROR(Start());
    if (journal_.records() && recorded_[client] == 0) {
      const std::span<const std::byte> vectors = Bytes(client);
      LACONIC_RETURN_IF_ERROR(journal_.Record(client, touched_[client] != 0 ? vectors : vectors.first(0)));
      recorded_[client] = 1;
    }
    Touch(client);
    ++in_use_;
    return Views(client);
  }

  void End(uint32_t client) override {
    // Those of before the budget was passed leave together.
    if (past_budget() && !dropped_.exchange(true)) memory_.Drop(0, all_bytes());
    Release(client);
    --in_use_;
  }

  absl::Status Checkpoint(uint64_t mark) override {
    LACONIC_RETURN_IF_ERROR(Start());
    LACONIC_RETURN_IF_ERROR(Flush());
    LACONIC_RETURN_IF_ERROR(journal_.Checkpoint(mark, touched_));
    std::ranges::fill(recorded_, 0);
    return absl::OkStatus();
  }

  absl::Status Restore(uint64_t mark) override {
    LACONIC_RETURN_IF_ERROR(journal_.Find(mark));  // before another store's file is given another length
    if (!started_) LACONIC_RETURN_IF_ERROR(MapFile());
    const auto undo = [&](uint32_t client, std::span<const std::byte> vectors) {
      const std::span<std::byte> bytes = Bytes(client);
      if (vectors.empty()) {
        std::ranges::fill(bytes, std::byte{0});
      } else {
        std::ranges::copy(vectors, bytes.begin());
      }
      memory_.Drop(client * layout_.client_bytes, layout_.client_bytes);
    };
    LACONIC_ASSIGN_OR_RETURN(touched_, journal_.Restore(mark, undo, [&] { return Flush(); }));
    touched_count_ = static_cast<uint32_t>(std::ranges::count(touched_, 1));
    std::ranges::fill(recorded_, 0);
    started_ = true;
    return absl::OkStatus();
  }

  size_t memory_bytes() const override { return past_budget() ? in_use_ * layout_.client_bytes : touched_bytes(); }
  size_t disk_bytes() const override { return file_.disk_bytes() + journal_.disk_bytes(); }

 protected:
  void Release(uint32_t client) const override {
    if (past_budget()) memory_.Drop(client * layout_.client_bytes, layout_.client_bytes);
  }

 private:
  bool past_budget() const { return touched_bytes() > options().memory_budget; }

  absl::Status MapFile() {
    LACONIC_ASSIGN_OR_RETURN(MappedMemory memory, MappedMemory::File(file_, all_bytes()));
    Map(std::move(memory));
    return absl::OkStatus();
  }

  // From zero, where no Restore came before: drops what an earlier run left.
  absl::Status Start() {
    if (started_) return absl::OkStatus();
    const std::lock_guard lock(starting_);
    if (started_) return absl::OkStatus();
    LACONIC_RETURN_IF_ERROR(journal_.Clear());
    if (ftruncate(file_.get(), 0) != 0) return internal::SystemError(options().folder, errno);
    LACONIC_RETURN_IF_ERROR(MapFile());
    started_ = true;
    return absl::OkStatus();
  }

  absl::Status Flush() const {
    return fsync(file_.get()) == 0 ? absl::OkStatus() : internal::SystemError(options().folder, errno);
  }

  FileDescriptor file_;
  UndoJournal journal_;
  std::vector<uint8_t> recorded_;  // by client: whether the journal has how it was at the last checkpoint
  std::atomic<uint32_t> in_use_ = 0;
  std::atomic<bool> dropped_ = false;
  std::mutex starting_;
  std::atomic<bool> started_ = false;
};

absl::StatusOr<std::unique_ptr<ClientStore>> OpenFolder(const ClientStoreOptions& options, const Layout& layout) {
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) return internal::SystemError(options.folder, error.value());
  const std::string path = options.folder + "/clients.bin";
  LACONIC_ASSIGN_OR_RETURN(FileDescriptor file, FileDescriptor::Open(path));
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(fmt::format("{} is in use by another run", path));
  }
  return std::make_unique<FileStore>(options, layout, std::move(file));
}

}  // namespace

uint64_t ClientStore::Hash() const {
  std::vector<uint64_t> hashes(options_.clients);
  for (uint32_t client = 0; client < options_.clients; ++client) hashes[client] = Hash(client);
  return Hash64(std::as_bytes(std::span(hashes)));
}

absl::StatusOr<std::unique_ptr<ClientStore>> ClientStore::Create(const ClientStoreOptions& options) {
  LACONIC_ASSIGN_OR_RETURN(const Layout layout, Layout::Of(options));
  if (!options.folder.empty() && layout.client_bytes > 0) return OpenFolder(options, layout);
  auto store = std::make_unique<MemoryStore>(options, layout);
  LACONIC_ASSIGN_OR_RETURN(MappedMemory memory, MappedMemory::Anonymous(store->all_bytes()));
  store->Map(std::move(memory));
  return store;
}

}  // namespace laconic
