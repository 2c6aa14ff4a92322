// What one deployed client keeps from round to round, and how it survives a crash at any moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "laconic/base/file_lock.h"

namespace laconic {

// The method's vectors of one client in a folder. What a round would make of them is on the disk before its update is
// pushed, and becomes theirs with one rename after the server has taken it; a client that died in between asks the
// server which of the two it is.
//
//   <folder>/client-<i>.safetensors          the vectors, and of which round's update they are what it left
//   <folder>/client-<i>.pending.safetensors  the same of an update that is on its way
//   <folder>/client-<i>.lock                 held by the process whose it is
//
// One thread at a time. Writes are durable when they return. A method without vectors keeps
// nothing and writes nothing.
class ClientState {
 public:
  struct Options {
    std::string folder;  // made if it is not there
    uint64_t run = 0;    // RunInfo::id
    uint32_t client = 0;
    size_t vectors = 0;   // FederatedMethod::client_vectors()
    size_t elements = 0;  // floats of each
  };
  // An update that the server has taken: what ClientRecord::Accepted says.
  struct Taken {
    uint64_t round = 0;
    uint64_t digest = 0;  // Hash64 of its bytes
    bool operator==(const Taken&) const = default;
  };

  // Zeros where the server has taken nothing of this client yet.   taken: what it took last.
  // Errors: FailedPrecondition where the folder does not hold the vectors that belong to `taken` (another run's, older
  // ones, none): the client's part in the server's state is then lost, and it must not go on as if it were new; or
  // where another process has it open.
  static absl::StatusOr<ClientState> Open(const Options& options, const std::optional<Taken>& taken);

  std::span<const std::span<float>> vectors() const { return views_; }

  // Before the push of the update `next`: `commit` is given a copy of the vectors to make of it what they become.
  absl::Status Prepare(const Taken& next, const std::function<void(std::span<const std::span<float>>)>& commit);
  // The server took the update.
  absl::Status Keep();
  // It never will.
  absl::Status Drop();

 private:
  struct Stored {
    Taken taken;
    std::vector<float> values;
  };
  explicit ClientState(const Options& options);
  absl::StatusOr<std::optional<Stored>> Read(const std::string& path) const;
  absl::Status Lost(const std::string& what) const;

  Options options_;
  std::string path_, pending_path_;
  std::optional<FileLock> lock_;
  std::vector<float> values_, shadow_;  // all vectors, one after the other
  std::vector<std::span<float>> views_, shadow_views_;
};

}  // namespace laconic
