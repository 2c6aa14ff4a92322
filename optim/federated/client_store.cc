#include "laconic/optim/federated/client_store.h"

#include <atomic>
#include <limits>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "optim/federated/mapped_memory.h"

namespace laconic {
namespace {

using internal::MappedMemory;

constexpr size_t kLineBytes = 64;

constexpr size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

class MappedStore final : public ClientStore {
 public:
  MappedStore(const ClientStoreOptions& options, size_t vector_bytes, size_t client_bytes, MappedMemory memory)
      : ClientStore(options), client_bytes_(client_bytes), memory_(std::move(memory)), touched_(options.clients) {
    for (size_t client = 0; client < options.clients; ++client) {
      for (size_t v = 0; v < options.vectors; ++v) {
        std::byte* first = memory_.bytes().data() + client * client_bytes + v * vector_bytes;
        views_.emplace_back(reinterpret_cast<float*>(first), options.elements);
      }
    }
  }

  absl::StatusOr<std::span<const std::span<float>>> Begin(uint32_t client) override {
    if (client >= options().clients) {
      return absl::OutOfRangeError(fmt::format("client {} of {}", client, options().clients));
    }
    if (touched_[client] == 0) {
      touched_[client] = 1;
      ++touched_count_;
    }
    return Views(client);
  }
  void End(uint32_t) override {}

  absl::Status Checkpoint(uint64_t) override {
    return absl::FailedPreconditionError("clients' vectors lie in memory; a checkpoint of them needs a folder");
  }
  absl::Status Restore(uint64_t) override { return Checkpoint(0); }

  uint32_t touched_clients() const override { return touched_count_; }
  size_t memory_bytes() const override { return touched_count_ * client_bytes_; }
  size_t disk_bytes() const override { return 0; }

  uint64_t Hash(uint32_t client) const override {
    uint64_t hash = 0;
    for (const std::span<float> vector : Views(client)) hash = Hash64(std::as_bytes(vector), hash);
    return hash;
  }

 private:
  std::span<const std::span<float>> Views(uint32_t client) const {
    return std::span(views_).subspan(client * options().vectors, options().vectors);
  }

  const size_t client_bytes_;
  MappedMemory memory_;
  std::vector<std::span<float>> views_;  // of all clients' vectors
  std::vector<uint8_t> touched_;         // by client: a byte each, so that threads do not share one
  std::atomic<uint32_t> touched_count_ = 0;
};

}  // namespace

uint64_t ClientStore::Hash() const {
  std::vector<uint64_t> hashes(options_.clients);
  for (uint32_t client = 0; client < options_.clients; ++client) hashes[client] = Hash(client);
  return Hash64(std::as_bytes(std::span(hashes)));
}

absl::StatusOr<std::unique_ptr<ClientStore>> ClientStore::Create(const ClientStoreOptions& options) {
  const size_t vector_bytes = RoundUp(options.elements * sizeof(float), kLineBytes);
  const size_t client_bytes = vector_bytes * options.vectors;
  if (client_bytes > std::numeric_limits<ptrdiff_t>::max() / std::max<size_t>(options.clients, 1)) {
    return absl::ResourceExhaustedError(fmt::format("{} clients with {} vectors of {} floats do not fit an address",
                                                    options.clients, options.vectors, options.elements));
  }
  LACONIC_ASSIGN_OR_RETURN(MappedMemory memory, MappedMemory::Anonymous(client_bytes * options.clients));
  return std::make_unique<MappedStore>(options, vector_bytes, client_bytes, std::move(memory));
}

}  // namespace laconic
