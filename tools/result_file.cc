#include "tools/result_file.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "laconic/base/status.h"
#include "nlohmann/json.hpp"

namespace laconic::tools {
namespace {

using nlohmann::json;

// Fields of one object; the first that is not what it should be is remembered, so that a list of fields reads as one.
class Fields {
 public:
  Fields(const json& object, std::string where, absl::Status& status)
      : object_(object), where_(std::move(where)), status_(status) {
    if (!object_.is_object()) Fail("", "no object");
  }

  // Fields that must be there.
  Fields& Need(const char* key, std::string& value) { return Take(key, value, true); }
  Fields& Need(const char* key, double& value) { return Take(key, value, true); }
  Fields& Need(const char* key, uint64_t& value) { return Take(key, value, true); }
  // And that may be missing or null.
  Fields& May(const char* key, std::string& value) { return Take(key, value, false); }
  Fields& May(const char* key, double& value) { return Take(key, value, false); }
  Fields& May(const char* key, uint64_t& value) { return Take(key, value, false); }
  Fields& May(const char* key, int& value) {
    uint64_t number = static_cast<uint64_t>(value);
    Take(key, number, false);
    value = static_cast<int>(std::min<uint64_t>(number, 1 << 30));
    return *this;
  }
  Fields& May(const char* key, bool& value) {
    if (const json* field = Find(key, false); field != nullptr) {
      if (field->is_boolean()) {
        value = field->get<bool>();
      } else {
        Fail(key, "no truth value");
      }
    }
    return *this;
  }
  Fields& May(const char* key, std::optional<double>& value) {
    double number = 0;
    if (Find(key, false) != nullptr) {
      Take(key, number, true);
      value = number;
    }
    return *this;
  }
  Fields& May(const char* key, std::optional<uint64_t>& value) {
    std::optional<double> number;
    May(key, number);
    if (number) value = static_cast<uint64_t>(*number);
    return *this;
  }
  Fields& May(const char* key, std::vector<double>& values) {
    const json* field = Find(key, false);
    if (field == nullptr) return *this;
    if (!field->is_array()) return Fail(key, "no list of numbers");
    for (const json& entry : *field) {
      if (!entry.is_number()) return Fail(key, "no list of numbers");
      values.push_back(entry.get<double>());
    }
    return *this;
  }

 private:
  const json* Find(const char* key, bool required) {
    if (!object_.is_object()) return nullptr;
    const auto found = object_.find(key);
    if (found != object_.end() && !found->is_null()) return &*found;
    if (required) Fail(key, "missing");
    return nullptr;
  }
  Fields& Take(const char* key, std::string& value, bool required) {
    const json* field = Find(key, required);
    if (field == nullptr) return *this;
    if (!field->is_string()) return Fail(key, "no text");
    value = field->get<std::string>();
    return *this;
  }
  Fields& Take(const char* key, double& value, bool required) {
    const json* field = Find(key, required);
    if (field == nullptr) return *this;
    if (!field->is_number() || field->get<double>() < 0) return Fail(key, "no number of at least 0");
    value = field->get<double>();
    return *this;
  }
  Fields& Take(const char* key, uint64_t& value, bool required) {
    double number = static_cast<double>(value);
    Take(key, number, required);
    if (number > 9e15) return Fail(key, "above 9e15");
    value = static_cast<uint64_t>(number);
    return *this;
  }
  Fields& Fail(std::string_view key, std::string_view what) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(fmt::format("{}{}{}: {}", where_, key.empty() ? "" : ".", key, what));
    }
    return *this;
  }

  const json& object_;
  const std::string where_;
  absl::Status& status_;
};

CollectiveResult ReadCollective(const json& object, const std::string& where, absl::Status& status) {
  CollectiveResult row;
  Fields(object, where, status)
      .Need("spec", row.spec)
      .May("runs_as", row.runs_as)
      .May("baseline", row.baseline)
      .Need("size_bytes", row.size_bytes)
      .May("count", row.count)
      .Need("time_seconds", row.time_seconds)
      .May("p99_seconds", row.p99_seconds)
      .May("times_seconds", row.times_seconds)
      .May("algbw_bytes_per_second", row.algbw_bytes_per_second)
      .May("busbw_bytes_per_second", row.busbw_bytes_per_second)
      .May("wrong", row.wrong)
      .May("wire_bytes_per_rank", row.wire_bytes_per_rank)
      .May("ratio", row.ratio)
      .May("encode_seconds", row.encode_seconds)
      .May("exchange_seconds", row.exchange_seconds)
      .May("decode_seconds", row.decode_seconds)
      .May("error_one_round", row.error_one_round)
      .May("rounds", row.rounds)
      .May("error_after_rounds", row.error_after_rounds)
      .May("break_even_bits_per_second", row.break_even_bits_per_second);
  return row;
}

CodecResult ReadCodec(const json& object, const std::string& where, absl::Status& status) {
  CodecResult row;
  Fields(object, where, status)
      .Need("spec", row.spec)
      .Need("input", row.input)
      .Need("elements", row.elements)
      .May("threads", row.threads)
      .May("encode_bytes_per_second", row.encode_bytes_per_second)
      .May("encode_residual_bytes_per_second", row.encode_residual_bytes_per_second)
      .May("decode_add_bytes_per_second", row.decode_add_bytes_per_second)
      .May("session_bytes_per_second", row.session_bytes_per_second)
      .May("memcpy_bytes_per_second", row.memcpy_bytes_per_second)
      .May("read_bytes_per_second", row.read_bytes_per_second)
      .May("bits_per_element", row.bits_per_element)
      .May("error", row.error);
  if (const auto times = object.find("times_seconds"); status.ok() && times != object.end()) {
    Fields(*times, where + ".times_seconds", status)
        .May("encode", row.encode_seconds)
        .May("encode_residual", row.encode_residual_seconds)
        .May("decode_add", row.decode_add_seconds)
        .May("session", row.session_seconds);
  }
  return row;
}

}  // namespace

std::string ResultFile::Setting() const {
  if (kind == "codec") return "codec";
  return fmt::format("{}, {} ranks, {}{}", kind, ranks, backend, link ? ", " + link->text : "");
}

absl::StatusOr<ResultFile> ParseResultFile(std::string_view name, std::string_view text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return absl::InvalidArgumentError(fmt::format("{}: no JSON", name));
  std::string schema;
  uint64_t version = 0;
  absl::Status status;
  ResultFile file{.name = std::string(name)};
  const std::string where(name);
  Fields(root, where, status).May("schema", schema).May("version", version);
  if (schema != kResultSchema) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: schema \"{}\"; this command reads \"{}\", the files of laconic bench -J", name, schema, kResultSchema));
  }
  if (version != kResultVersion) {
    return absl::InvalidArgumentError(
        fmt::format("{}: schema version {}; this command reads version {}: take both "
                    "measurements with one laconic",
                    name, version, kResultVersion));
  }
  Fields(root, where, status)
      .Need("kind", file.kind)
      .May("command", file.command)
      .May("date", file.date)
      .May("ranks", file.ranks)
      .May("backend", file.backend);
  LACONIC_RETURN_IF_ERROR(status);
  if (file.kind != "codec" && file.kind != "allreduce" && file.kind != "allgather" && file.kind != "ps") {
    return absl::InvalidArgumentError(fmt::format("{}: unknown kind \"{}\"", name, file.kind));
  }
  if (const auto machine = root.find("machine"); machine != root.end()) {
    Fields(*machine, where + ": machine", status)
        .May("cpu", file.cpu)
        .May("cores", file.cores)
        .May("kernels", file.kernels)
        .May("laconic", file.laconic);
  }
  if (const auto link = root.find("link"); link != root.end() && !link->is_null()) {
    file.link.emplace();
    Fields(*link, where + ": link", status)
        .May("text", file.link->text)
        .Need("bits_per_second", file.link->bits_per_second)
        .May("round_trip_seconds", file.link->round_trip_seconds);
  }
  const auto rows = root.find("rows");
  if (rows == root.end() || !rows->is_array()) {
    return absl::InvalidArgumentError(fmt::format("{}: rows is missing or no list", name));
  }
  for (size_t i = 0; i < rows->size() && status.ok(); ++i) {
    const std::string at = fmt::format("{}: rows[{}]", name, i);
    if (file.kind == "codec") {
      file.codecs.push_back(ReadCodec((*rows)[i], at, status));
    } else {
      file.collectives.push_back(ReadCollective((*rows)[i], at, status));
    }
  }
  LACONIC_RETURN_IF_ERROR(status);
  return file;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  // An empty file leaves `text` failed but is read all the same; a folder opens and cannot be read.
  if (!in.is_open() || in.bad() || (in.fail() && !in.eof())) {
    return absl::NotFoundError(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  }
  return text.str();
}

absl::StatusOr<ResultFile> ReadResultFile(const std::string& path) {
  LACONIC_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  return ParseResultFile(path, text);
}

}  // namespace laconic::tools
