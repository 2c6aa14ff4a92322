// What all calls of the service begin with: who asks, and whether it may.
#pragma once

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "comm/server/grpc/grpc_status.h"
#include "comm/server/grpc/parameter_server.pb.h"
#include "comm/server/grpc/service.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/certificates.h"

namespace laconic::internal {

// Who the certificate of the connection speaks for; nothing with plain text.
inline absl::StatusOr<std::optional<uint32_t>> CertifiedClient(const ServiceCore& core,
                                                               const grpc::ServerContextBase& context) {
  if (core.options().plain_text) return std::nullopt;
  std::optional<uint32_t> client;
  const auto auth = context.auth_context();
  for (const char* property : {GRPC_X509_CN_PROPERTY_NAME, GRPC_X509_SAN_PROPERTY_NAME}) {
    for (const grpc::string_ref& value : auth->FindPropertyValues(property)) {
      const auto named = ClientOfCertificateName(std::string_view(value.data(), value.size()));
      if (!named.ok()) continue;
      if (client.has_value() && *client != *named) {
        return absl::UnauthenticatedError(
            fmt::format("the certificate names both client {} and client {}", *client, *named));
      }
      client = *named;
    }
  }
  if (!client.has_value()) return absl::UnauthenticatedError("the certificate names no client of this library");
  return client;
}

// Of a method that takes its request as bytes. False: they are not a Request.
template <typename Request>
bool Parse(const grpc::ByteBuffer& bytes, Request* request) {
  grpc::ByteBuffer taken(bytes);
  return grpc::SerializationTraits<Request>::Deserialize(&taken, request).ok();
}

inline Caller CallerOf(const v1::Caller& caller) {
  return {.run = caller.run(), .client = caller.client(), .incarnation = caller.incarnation()};
}

// One of a client's calls, from the check of who it is to its end.
class Ticket {
 public:
  Ticket() = default;
  ~Ticket() {
    if (core_ != nullptr) core_->Leave(client_);
  }
  Ticket(Ticket&& other) noexcept : core_(std::exchange(other.core_, nullptr)), client_(other.client_) {}
  Ticket& operator=(Ticket&&) = delete;

  absl::Status Enter(ServiceCore* core, grpc::CallbackServerContext* context, uint32_t client) {
    auto certified = CertifiedClient(*core, *context);
    const absl::Status entered = certified.ok() ? core->Enter(*certified, client) : certified.status();
    if (absl::IsResourceExhausted(entered)) {
      SetRetryAfter(context, core->options().limits.busy_retry);
    } else if (!entered.ok()) {
      ++core->metrics().refused_identities;
      core->log().Write("identity_refused", {{"peer", context->peer()}, {"error", entered.ToString()}});
    }
    LACONIC_RETURN_IF_ERROR(entered);
    core_ = core;
    client_ = client;
    return absl::OkStatus();
  }

  static void SetRetryAfter(grpc::ServerContextBase* context, absl::Duration after) {
    context->AddTrailingMetadata(kRetryAfterKey, fmt::format("{}", absl::ToInt64Milliseconds(after)));
  }

 private:
  ServiceCore* core_ = nullptr;
  uint32_t client_ = 0;
};

inline absl::Status LostReply() { return absl::UnavailableError("the reply was lost"); }

}  // namespace laconic::internal
