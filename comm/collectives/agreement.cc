#include "laconic/comm/collectives/agreement.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "fmt/format.h"
#include "laconic/base/byte_io.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"

namespace laconic {
namespace {

constexpr uint64_t kMaxFactBytes = uint64_t{1}
                                   << 28;  // of one rank's facts: a bound on what a confused peer can make us allocate

std::vector<std::byte> Serialize(std::span<const AgreedFact> facts) {
  size_t bytes = 0;
  for (const AgreedFact& fact : facts) bytes += 8 + fact.what.size() + fact.value.size();
  std::vector<std::byte> out(bytes);
  ByteWriter writer(out);
  for (const AgreedFact& fact : facts) {
    for (const std::string* text : {&fact.what, &fact.value}) {
      writer.Put(static_cast<uint32_t>(text->size()));
      writer.PutBytes(std::as_bytes(std::span(text->data(), text->size())));
    }
  }
  return out;
}

std::string_view ReadText(ByteReader& reader) {
  const std::span<const std::byte> bytes = reader.Take(reader.Get<uint32_t>());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The first fact in which `theirs` differs from `ours` (both serialized), as an error text; empty if none.
std::string FirstDifference(std::span<const std::byte> ours, std::span<const std::byte> theirs, int other_rank) {
  ByteReader a(ours), b(theirs);
  while (a.remaining() > 0 || b.remaining() > 0) {
    const std::string_view what_a = ReadText(a), value_a = ReadText(a);
    const std::string_view what_b = ReadText(b), value_b = ReadText(b);
    if (!a.ok() || !b.ok() || what_a != what_b) {
      return fmt::format("ranks disagree on what there is to agree on: \"{}\" on rank 0, \"{}\" on rank {}", what_a,
                         what_b, other_rank);
    }
    if (value_a != value_b) {
      return fmt::format("ranks disagree on {}: \"{}\" on rank 0, \"{}\" on rank {}", what_a, value_a, value_b,
                         other_rank);
    }
  }
  return "";
}

}  // namespace

absl::Status AgreeOn(Communicator& comm, std::span<const AgreedFact> facts) {
  comm.SetPhase({.name = "handshake"});
  std::vector<std::byte> own = Serialize(facts);
  const std::array<uint64_t, 2> digest = {Hash64(own), own.size()};
  std::vector<std::array<uint64_t, 2>> digests(comm.size());
  LACONIC_RETURN_IF_ERROR(
      Allgather(comm, std::as_bytes(std::span(digest)), std::as_writable_bytes(std::span(digests))));
  if (std::all_of(digests.begin(), digests.end(), [&](const auto& other) { return other == digest; }))
    return absl::OkStatus();

  std::vector<std::vector<std::byte>> all(comm.size());
  std::vector<std::span<std::byte>> parts(comm.size());
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (digests[rank][1] > kMaxFactBytes) {
      return absl::FailedPreconditionError(fmt::format("handshake: rank {} describes itself in {} bytes, limit {}",
                                                       rank, digests[rank][1], kMaxFactBytes));
    }
    all[rank] = rank == comm.rank() ? own : std::vector<std::byte>(digests[rank][1]);
    parts[rank] = all[rank];
  }
  LACONIC_RETURN_IF_ERROR(Allgatherv(comm, parts));
  for (int rank = 1; rank < comm.size(); ++rank) {
    if (std::string difference = FirstDifference(all[0], all[rank], rank); !difference.empty()) {
      return absl::FailedPreconditionError(difference);
    }
  }
  return absl::FailedPreconditionError("handshake: digests differ but no fact does");
}

}  // namespace laconic
