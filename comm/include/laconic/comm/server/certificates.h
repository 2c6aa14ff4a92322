// Certificates of a parameter server and its clients: who may speak to whom.
//
// Both sides of a connection prove who they are (mutual TLS). A client's number is part of its certificate, as the name
// "laconic-client-<number>", so that no client can speak for another. `CertificateAuthority` makes everything a test or
// a first deployment needs; a site with an authority of its own issues certificates with the same names instead.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace laconic {

// "laconic-client-7": the common name, or a DNS name, in client 7's certificate.
std::string ClientCertificateName(uint32_t client);
// The inverse. InvalidArgument for anything but the prefix and a decimal number below 2^32 without leading zeros.
absl::StatusOr<uint32_t> ClientOfCertificateName(std::string_view name);

// What one side of a connection needs, as PEM text.
struct TlsIdentity {
  std::string authorities;  // certificates of those whose signature it trusts
  std::string certificate;  // its own, followed by intermediate ones if there are any
  std::string key;          // the private key of its own

  // Reads the three files. PermissionDenied if others than the owner may read or write the key's file; NotFound and
  // DataLoss name the file.
  static absl::StatusOr<TlsIdentity> Read(const std::string& authorities_path, const std::string& certificate_path,
                                          const std::string& key_path);
};

// A certificate and its private key as PEM text.
struct CertifiedKey {
  std::string certificate;
  std::string key;
};

// When a certificate holds.
struct Validity {
  absl::Time from;
  absl::Time to;

  // From an hour before `now` (clocks differ) until `days` after it.
  static Validity Days(absl::Time now, int days) { return {now - absl::Hours(1), now + absl::Hours(24) * days}; }
};

// Signs certificates: ECDSA on P-256 with SHA-256, random 128-bit serial numbers. Thread-compatible.
class CertificateAuthority {
 public:
  // A self-signed authority. InvalidArgument if `validity` is empty.
  static absl::StatusOr<CertificateAuthority> Create(std::string_view name, const Validity& validity);
  // One made before. DataLoss if the texts are not a certificate and its key.
  static absl::StatusOr<CertificateAuthority> Load(const CertifiedKey& authority);

  // A server's certificate for `names`: DNS names and IP addresses under which clients dial it, at least one. It is
  // good for the client's side as well, with which a server dials itself (ServerLimits::probe_interval).
  absl::StatusOr<CertifiedKey> IssueServer(std::span<const std::string> names, const Validity& validity) const;
  // Client number `client`'s certificate.
  absl::StatusOr<CertifiedKey> IssueClient(uint32_t client, const Validity& validity) const;

  const CertifiedKey& own() const { return own_; }
  // `issued` with this authority as the only one it trusts.
  TlsIdentity Identity(const CertifiedKey& issued) const {
    return {.authorities = own_.certificate, .certificate = issued.certificate, .key = issued.key};
  }

 private:
  CertifiedKey own_;
  explicit CertificateAuthority(CertifiedKey own) : own_(std::move(own)) {}
};

struct CertificateFolder {
  std::string path;                    // made if it is not there
  std::span<const std::string> names;  // of the server
  uint32_t clients = 0;
  Validity validity;
};

// Makes an authority and what it signs: ca.pem, ca.key, server.pem, server.key, client-<i>.pem, client-<i>.key. Keys
// have mode 0600, certificates 0644. AlreadyExists if one of the files is there: a key is never overwritten.
absl::Status WriteCertificates(const CertificateFolder& folder);

// The first DNS name, or IP address, that `certificate` (PEM) is for. DataLoss if it cannot be read, NotFound if it has
// none: clients verify these and nothing else.
absl::StatusOr<std::string> FirstServerName(const std::string& certificate);

}  // namespace laconic
