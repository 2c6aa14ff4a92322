#include "laconic/base/status.h"

#include <fmt/format.h>

namespace laconic {

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  const absl::string_view message = status.message();
  absl::Status annotated(status.code(), fmt::format("{}: {}", fmt::string_view(context.data(), context.size()),
                                                    fmt::string_view(message.data(), message.size())));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

}  // namespace laconic
