// TLS of both sides, in gRPC's terms: mutual, 1.2 or newer (gRPC's least).
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <optional>

#include "laconic/comm/server/certificates.h"

namespace laconic::internal {

inline std::shared_ptr<grpc::ServerCredentials> ServerCredentials(const std::optional<TlsIdentity>& tls) {
  if (!tls.has_value()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = tls->authorities;
  options.pem_key_cert_pairs.push_back({.private_key = tls->key, .cert_chain = tls->certificate});
  return grpc::SslServerCredentials(options);
}

inline std::shared_ptr<grpc::ChannelCredentials> ChannelCredentials(const std::optional<TlsIdentity>& tls) {
  if (!tls.has_value()) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials(
      {.pem_root_certs = tls->authorities, .pem_private_key = tls->key, .pem_cert_chain = tls->certificate});
}

}  // namespace laconic::internal
