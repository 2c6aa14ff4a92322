#include "laconic/optim/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>
#include <span>
#include <string_view>
#include <system_error>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/collectives/primitives.h"
#include "nlohmann/json.hpp"

namespace laconic {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::string_view kFormat = "laconic-checkpoint";
constexpr uint64_t kVersion = 1;
constexpr size_t kMaxIndexBytes = size_t{64} << 20;
constexpr size_t kMaxFiles = 1 << 20;

std::string IndexPath(const std::string& folder) { return (fs::path(folder) / "index.json").string(); }
std::string PathIn(const std::string& folder, const std::string& name) { return (fs::path(folder) / name).string(); }

std::string RankFileName(uint64_t step, int rank, int size, uint64_t hash) {
  return fmt::format("step-{}.rank-{}-of-{}.{:016x}.safetensors", step, rank, size, hash);
}

absl::Status CreateFolder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder, error)) {
    return absl::UnavailableError(
        fmt::format("{}: cannot create the folder: {}", folder, error ? error.message() : "not a folder"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckpointIndex::File> WriteRankFile(const Communicator& comm, const std::string& folder, uint64_t step,
                                                    const std::function<void(StateWriter&)>& save) {
  LACONIC_RETURN_IF_ERROR(CreateFolder(folder));
  StateArchive archive;
  StateWriter writer(&archive);
  save(writer);
  const std::vector<std::byte> bytes = SerializeStateArchive(archive);
  const uint64_t hash = Hash64(bytes);
  CheckpointIndex::File file = {RankFileName(step, comm.rank(), comm.size(), hash), bytes.size(), hash};
  LACONIC_RETURN_IF_ERROR(WriteFileAtomically(PathIn(folder, file.name), bytes));
  return file;
}

std::string IndexText(const CheckpointIndex& index) {
  Json files = Json::array();
  for (const CheckpointIndex::File& file : index.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"hash", fmt::format("{:016x}", file.hash)}});
  }
  const Json json = {
      {"format", kFormat}, {"version", kVersion}, {"step", index.step}, {"run", index.run}, {"files", files}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// Files that look like ours and are not in the index. Best effort: a file that stays costs space, not correctness.
void RemoveOlderFiles(const std::string& folder, const CheckpointIndex& index) {
  std::set<std::string> keep;
  for (const CheckpointIndex::File& file : index.files) keep.insert(file.name);
  std::error_code error;
  std::vector<fs::path> remove;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool ours = name.starts_with("step-") && name.find(".rank-") != std::string::npos &&
                      (name.ends_with(".safetensors") || name.ends_with(".safetensors.tmp"));
    if (ours && !keep.contains(name)) remove.push_back(it->path());
  }
  for (const fs::path& path : remove) fs::remove(path, error);
}

absl::Status FieldError(std::string_view field, std::string_view problem) {
  return absl::DataLossError(fmt::format("checkpoint index: field {} {}", field, problem));
}

// `object` has exactly these keys.
absl::Status CheckKeys(const Json& object, std::string_view where, std::initializer_list<std::string_view> keys) {
  if (!object.is_object()) return FieldError(where, "is not an object");
  for (const std::string_view key : keys) {
    if (!object.contains(key)) return FieldError(fmt::format("{}.{}", where, key), "is missing");
  }
  for (const auto& [key, value] : object.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      return FieldError(fmt::format("{}.{}", where, key), "is unknown");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ReadUnsigned(const Json& object, std::string_view key) {
  const Json& value = object.at(std::string(key));
  if (!value.is_number_unsigned()) return FieldError(key, "is not an unsigned integer");
  return value.get<uint64_t>();
}

absl::StatusOr<std::string> ReadText(const Json& object, std::string_view key) {
  const Json& value = object.at(std::string(key));
  if (!value.is_string()) return FieldError(key, "is not a text");
  return value.get<std::string>();
}

// A plain name within the folder, as SaveCheckpoint writes them: no separators, no leading dot, no control characters.
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return c > ' ' && c < 127 && c != '/' && c != '\\'; });
}

absl::StatusOr<CheckpointIndex::File> ReadFileEntry(const Json& json, size_t position) {
  const std::string where = fmt::format("files[{}]", position);
  LACONIC_RETURN_IF_ERROR(CheckKeys(json, where, {"name", "bytes", "hash"}));
  CheckpointIndex::File file;
  LACONIC_ASSIGN_OR_RETURN(file.name, ReadText(json, "name"));
  if (!IsPlainFileName(file.name)) return FieldError(where + ".name", "is not a plain file name");
  LACONIC_ASSIGN_OR_RETURN(file.bytes, ReadUnsigned(json, "bytes"));
  LACONIC_ASSIGN_OR_RETURN(const std::string hash, ReadText(json, "hash"));
  const auto [end, error] = std::from_chars(hash.data(), hash.data() + hash.size(), file.hash, 16);
  if (hash.size() != 16 || error != std::errc() || end != hash.data() + hash.size()) {
    return FieldError(where + ".hash", "is not 16 hexadecimal digits");
  }
  return file;
}

absl::StatusOr<CheckpointIndex> ParseIndex(std::span<const std::byte> bytes) {
  if (bytes.size() > kMaxIndexBytes) {
    return absl::DataLossError(
        fmt::format("checkpoint index: {} bytes are more than an index can have ({})", bytes.size(), kMaxIndexBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError("checkpoint index: not a JSON text");
  LACONIC_RETURN_IF_ERROR(CheckKeys(json, "index", {"format", "version", "step", "run", "files"}));
  if (json["format"] != kFormat) return FieldError("format", fmt::format("is not \"{}\"", kFormat));
  LACONIC_ASSIGN_OR_RETURN(const uint64_t version, ReadUnsigned(json, "version"));
  if (version != kVersion) return FieldError("version", fmt::format("is {}; this build reads {}", version, kVersion));

  CheckpointIndex index;
  LACONIC_ASSIGN_OR_RETURN(index.step, ReadUnsigned(json, "step"));
  LACONIC_ASSIGN_OR_RETURN(index.run, ReadText(json, "run"));
  const Json& files = json["files"];
  if (!files.is_array() || files.empty() || files.size() > kMaxFiles) {
    return FieldError("files", fmt::format("is not a list of 1 to {} files", kMaxFiles));
  }
  for (size_t i = 0; i < files.size(); ++i) {
    LACONIC_ASSIGN_OR_RETURN(CheckpointIndex::File file, ReadFileEntry(files[i], i));
    index.files.push_back(std::move(file));
  }
  return index;
}

}  // namespace

absl::Status AgreeOnStatus(Communicator& comm, const absl::Status& own) {
  struct Vote {
    int32_t code = 0;
    uint32_t length = 0;
    char message[504] = {};
  };
  static_assert(sizeof(Vote) == 512);
  constexpr size_t kMaxMessage = 480;

  Vote vote;
  vote.code = static_cast<int32_t>(own.code());
  vote.length = static_cast<uint32_t>(std::min<size_t>(own.message().size(), kMaxMessage));
  std::copy_n(own.message().data(), vote.length, vote.message);
  std::vector<Vote> votes(comm.size());
  LACONIC_RETURN_IF_ERROR(
      Allgather(comm, std::as_bytes(std::span(&vote, 1)), std::as_writable_bytes(std::span(votes))));
  for (size_t rank = 0; rank < votes.size(); ++rank) {
    if (votes[rank].code == 0) continue;
    const std::string_view message(votes[rank].message, std::min<size_t>(votes[rank].length, kMaxMessage));
    return absl::Status(static_cast<absl::StatusCode>(votes[rank].code), fmt::format("rank {}: {}", rank, message));
  }
  return absl::OkStatus();
}

absl::Status SaveCheckpoint(Communicator& comm, const std::string& folder, uint64_t step, const std::string& run,
                            const std::function<void(StateWriter&)>& save) {
  const absl::StatusOr<CheckpointIndex::File> own = WriteRankFile(comm, folder, step, save);
  LACONIC_RETURN_IF_ERROR(Annotate(AgreeOnStatus(comm, own.status()), fmt::format("checkpoint of step {}", step)));

  // Names follow from rank and hash, so lengths and hashes are all that rank 0 has to learn.
  const uint64_t mine[2] = {own->bytes, own->hash};
  std::vector<uint64_t> all(2 * static_cast<size_t>(comm.size()));
  LACONIC_RETURN_IF_ERROR(Allgather(comm, std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all))));

  absl::Status written;
  if (comm.rank() == 0) {
    CheckpointIndex index = {step, run, {}};
    for (int rank = 0; rank < comm.size(); ++rank) {
      const uint64_t bytes = all[2 * rank], hash = all[2 * rank + 1];
      index.files.push_back({RankFileName(step, rank, comm.size(), hash), bytes, hash});
    }
    const std::string text = IndexText(index);
    written = WriteFileAtomically(IndexPath(folder), std::as_bytes(std::span<const char>(text)));
    // Before the others are let go: they may write the next checkpoint's files after that.
    if (written.ok()) RemoveOlderFiles(folder, index);
  }
  return Annotate(AgreeOnStatus(comm, written), fmt::format("checkpoint of step {}", step));
}

absl::StatusOr<CheckpointIndex> ReadCheckpointIndex(const std::string& folder) {
  const std::string path = IndexPath(folder);
  std::error_code error;
  if (!fs::exists(path, error)) return absl::NotFoundError(fmt::format("{}: there is no checkpoint", path));
  LACONIC_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFile(path));
  absl::StatusOr<CheckpointIndex> index = ParseIndex(bytes);
  if (!index.ok()) return Annotate(index.status(), path);
  return index;
}

absl::StatusOr<StateArchive> ReadCheckpointFile(const std::string& folder, const CheckpointIndex& index, size_t rank) {
  if (rank >= index.files.size()) {
    return absl::OutOfRangeError(
        fmt::format("checkpoint in {}: {} ranks saved, there is no rank {}", folder, index.files.size(), rank));
  }
  const CheckpointIndex::File& file = index.files[rank];
  const std::string path = PathIn(folder, file.name);
  LACONIC_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFile(path));
  if (bytes.size() != file.bytes) {
    return absl::DataLossError(fmt::format("{}: {} bytes, the index says {}", path, bytes.size(), file.bytes));
  }
  if (const uint64_t hash = Hash64(bytes); hash != file.hash) {
    return absl::DataLossError(fmt::format("{}: hash {:016x}, the index says {:016x}", path, hash, file.hash));
  }
  absl::StatusOr<StateArchive> archive = ParseStateArchive(bytes);
  if (!archive.ok()) return Annotate(archive.status(), path);
  return archive;
}

}  // namespace laconic
