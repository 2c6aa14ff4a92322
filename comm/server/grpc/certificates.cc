#include "laconic/comm/server/certificates.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "laconic/base/status.h"

namespace laconic {
namespace {

constexpr std::string_view kClientPrefix = "laconic-client-";
constexpr size_t kMaxPemBytes = size_t{1} << 20;

template <auto free_function>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>>;
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using AlternativeNames = std::unique_ptr<GENERAL_NAMES, Free<GENERAL_NAMES_free>>;

// Internal "<what>: <OpenSSL's reason>". Empties OpenSSL's queue of errors.
absl::Status OpenSslError(std::string_view what) {
  std::array<char, 256> reason{"no reason given"};
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, reason.data(), reason.size());
  ERR_clear_error();
  return absl::InternalError(fmt::format("{}: {}", what, reason.data()));
}

std::string TextOf(BIO* bio) {
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(bytes));
}

absl::StatusOr<CertifiedKey> ToPem(X509* certificate, EVP_PKEY* key) {
  const Bio certificate_bio(BIO_new(BIO_s_mem()));
  const Bio key_bio(BIO_new(BIO_s_mem()));
  if (!certificate_bio || !key_bio || PEM_write_bio_X509(certificate_bio.get(), certificate) != 1 ||
      PEM_write_bio_PrivateKey(key_bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return OpenSslError("writing a certificate as PEM");
  }
  return CertifiedKey{TextOf(certificate_bio.get()), TextOf(key_bio.get())};
}

absl::StatusOr<Certificate> ParseCertificate(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  Certificate certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!certificate) return absl::DataLossError(OpenSslError("not a certificate in PEM").message());
  return certificate;
}

absl::StatusOr<Key> ParseKey(const std::string& pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  // An encrypted key would make OpenSSL ask the terminal for its password: the callback has none.
  const auto no_password = [](char*, int, int, void*) { return 0; };
  Key key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr) : nullptr);
  if (!key) return absl::DataLossError(OpenSslError("not a private key in PEM, or an encrypted one").message());
  return key;
}

absl::Status AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return OpenSslError(fmt::format("certificate extension {} = {}", OBJ_nid2sn(nid), value));
  }
  return absl::OkStatus();
}

struct Subject {
  std::string common_name;
  std::string alternative_names;  // "DNS:a,IP:1.2.3.4"
  std::string extended_use;       // empty: an authority
};

// Signs a new key for `subject`; by itself where there is no issuer.
absl::StatusOr<CertifiedKey> Issue(const Subject& subject, const Validity& validity, X509* issuer, EVP_PKEY* signer) {
  if (validity.from >= validity.to) {
    return absl::InvalidArgumentError(fmt::format("the certificate of {} would hold from {} to {}", subject.common_name,
                                                  absl::FormatTime(validity.from), absl::FormatTime(validity.to)));
  }
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  if (!key || !certificate) return OpenSslError("making a key");
  std::array<unsigned char, 16> serial_bytes;
  if (RAND_bytes(serial_bytes.data(), serial_bytes.size()) != 1) return OpenSslError("drawing a serial number");
  serial_bytes[0] &= 0x7f;  // positive in DER
  const std::unique_ptr<BIGNUM, Free<BN_free>> serial(BN_bin2bn(serial_bytes.data(), serial_bytes.size(), nullptr));
  X509* const x509 = certificate.get();
  X509_NAME* const name = X509_get_subject_name(x509);
  const bool is_authority = issuer == nullptr;
  if (!serial || X509_set_version(x509, X509_VERSION_3) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(x509)) == nullptr ||
      ASN1_TIME_set(X509_getm_notBefore(x509), absl::ToTimeT(validity.from)) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(x509), absl::ToTimeT(validity.to)) == nullptr ||
      X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(subject.common_name.data()),
                                 static_cast<int>(subject.common_name.size()), -1, 0) != 1 ||
      X509_set_issuer_name(x509, is_authority ? name : X509_get_subject_name(issuer)) != 1 ||
      X509_set_pubkey(x509, key.get()) != 1) {
    return OpenSslError(fmt::format("making the certificate of {}", subject.common_name));
  }
  X509* const parent = is_authority ? x509 : issuer;
  const auto add = [&](int nid, const std::string& value) { return AddExtension(x509, parent, nid, value); };
  LACONIC_RETURN_IF_ERROR(
      add(NID_basic_constraints, is_authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE"));
  LACONIC_RETURN_IF_ERROR(
      add(NID_key_usage, is_authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature"));
  LACONIC_RETURN_IF_ERROR(add(NID_subject_key_identifier, "hash"));
  if (!is_authority) {
    LACONIC_RETURN_IF_ERROR(add(NID_authority_key_identifier, "keyid"));
    LACONIC_RETURN_IF_ERROR(add(NID_ext_key_usage, subject.extended_use));
    LACONIC_RETURN_IF_ERROR(add(NID_subject_alt_name, subject.alternative_names));
  }
  if (X509_sign(x509, is_authority ? key.get() : signer, EVP_sha256()) == 0) {
    return OpenSslError(fmt::format("signing the certificate of {}", subject.common_name));
  }
  return ToPem(x509, key.get());
}

absl::StatusOr<CertifiedKey> IssueBy(const CertifiedKey& authority, const Subject& subject, const Validity& validity) {
  LACONIC_ASSIGN_OR_RETURN(const Certificate issuer, ParseCertificate(authority.certificate));
  LACONIC_ASSIGN_OR_RETURN(const Key signer, ParseKey(authority.key));
  return Issue(subject, validity, issuer.get(), signer.get());
}

bool IsIpAddress(const std::string& name) {
  std::array<unsigned char, sizeof(in6_addr)> address;
  return inet_pton(AF_INET, name.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, name.c_str(), address.data()) == 1;
}

// The names go into a comma-separated list that OpenSSL parses: nothing else than a host name may get there.
bool IsHostName(const std::string& name) {
  return !name.empty() && name.size() <= 253 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") ==
             std::string::npos;
}

absl::StatusOr<std::string> ReadText(const std::string& path, bool is_private) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    const std::string text = fmt::format("{}: {}", path, std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(text) : absl::PermissionDeniedError(text);
  }
  struct stat about = {};
  std::string text;
  absl::Status status;
  if (fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) {
    status = absl::InvalidArgumentError(fmt::format("{}: not a regular file", path));
  } else if (is_private && (about.st_mode & 077) != 0) {
    status = absl::PermissionDeniedError(
        fmt::format("{}: a private key that others may read (mode {:03o}, expected 600)", path, about.st_mode & 0777));
  }
  while (status.ok()) {
    std::array<char, 4096> piece;
    const ssize_t got = read(file, piece.data(), piece.size());
    if (got == 0) break;
    if (got < 0 || text.size() + got > kMaxPemBytes) {
      status = absl::DataLossError(fmt::format("{}: unreadable, or longer than {} bytes", path, kMaxPemBytes));
      break;
    }
    text.append(piece.data(), static_cast<size_t>(got));
  }
  close(file);
  if (!status.ok()) return status;
  return text;
}

absl::Status WriteNewFile(const std::string& path, const std::string& text, mode_t mode) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (file < 0) {
    const std::string why = fmt::format("{}: {}", path, std::strerror(errno));
    return errno == EEXIST ? absl::AlreadyExistsError(why) : absl::UnavailableError(why);
  }
  const bool written = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(file) == 0;
  close(file);
  if (written) return absl::OkStatus();
  unlink(path.c_str());
  return absl::UnavailableError(fmt::format("{}: cannot be written", path));
}

}  // namespace

std::string ClientCertificateName(uint32_t client) { return fmt::format("{}{}", kClientPrefix, client); }

absl::StatusOr<uint32_t> ClientOfCertificateName(std::string_view name) {
  if (name.starts_with(kClientPrefix)) {
    const std::string_view digits = name.substr(kClientPrefix.size());
    uint32_t client = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), client);
    if (error == std::errc() && ClientCertificateName(client) == name) return client;
  }
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is no client's name: expected {}<number>", name, kClientPrefix));
}

absl::StatusOr<TlsIdentity> TlsIdentity::Read(const std::string& authorities_path, const std::string& certificate_path,
                                              const std::string& key_path) {
  TlsIdentity identity;
  LACONIC_ASSIGN_OR_RETURN(identity.authorities, ReadText(authorities_path, false));
  LACONIC_ASSIGN_OR_RETURN(identity.certificate, ReadText(certificate_path, false));
  LACONIC_ASSIGN_OR_RETURN(identity.key, ReadText(key_path, true));
  if (const auto parsed = ParseCertificate(identity.authorities); !parsed.ok()) {
    return Annotate(parsed.status(), authorities_path);
  }
  const auto certificate = ParseCertificate(identity.certificate);
  if (!certificate.ok()) return Annotate(certificate.status(), certificate_path);
  const auto key = ParseKey(identity.key);
  if (!key.ok()) return Annotate(key.status(), key_path);
  if (X509_check_private_key(certificate->get(), key->get()) != 1) {
    ERR_clear_error();
    return absl::DataLossError(fmt::format("{} is not the key of {}", key_path, certificate_path));
  }
  return identity;
}

absl::StatusOr<CertificateAuthority> CertificateAuthority::Create(std::string_view name, const Validity& validity) {
  LACONIC_ASSIGN_OR_RETURN(CertifiedKey own, Issue({.common_name = std::string(name)}, validity, nullptr, nullptr));
  return CertificateAuthority(std::move(own));
}

absl::StatusOr<CertificateAuthority> CertificateAuthority::Load(const CertifiedKey& authority) {
  LACONIC_ASSIGN_OR_RETURN(const Certificate certificate, ParseCertificate(authority.certificate));
  LACONIC_ASSIGN_OR_RETURN(const Key key, ParseKey(authority.key));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return absl::DataLossError("the authority's key is not the key of its certificate");
  }
  return CertificateAuthority(authority);
}

absl::StatusOr<CertifiedKey> CertificateAuthority::IssueServer(std::span<const std::string> names,
                                                               const Validity& validity) const {
  if (names.empty()) return absl::InvalidArgumentError("a server's certificate needs a name or an IP address");
  std::string alternative_names;
  for (const std::string& name : names) {
    const bool is_ip = IsIpAddress(name);
    if (!is_ip && !IsHostName(name)) {
      return absl::InvalidArgumentError(fmt::format("\"{}\" is neither a DNS name nor an IP address", name));
    }
    alternative_names += fmt::format("{}{}:{}", alternative_names.empty() ? "" : ",", is_ip ? "IP" : "DNS", name);
  }
  return IssueBy(own_,
                 {.common_name = "laconic-server",
                  .alternative_names = std::move(alternative_names),
                  .extended_use = "serverAuth,clientAuth"},
                 validity);
}

absl::StatusOr<CertifiedKey> CertificateAuthority::IssueClient(uint32_t client, const Validity& validity) const {
  const std::string name = ClientCertificateName(client);
  return IssueBy(own_,
                 {.common_name = name, .alternative_names = fmt::format("DNS:{}", name), .extended_use = "clientAuth"},
                 validity);
}

absl::Status WriteCertificates(const CertificateFolder& folder) {
  if (mkdir(folder.path.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::UnavailableError(fmt::format("{}: {}", folder.path, std::strerror(errno)));
  }
  const auto write = [&](const std::string& name, const CertifiedKey& issued) -> absl::Status {
    LACONIC_RETURN_IF_ERROR(WriteNewFile(fmt::format("{}/{}.key", folder.path, name), issued.key, 0600));
    return WriteNewFile(fmt::format("{}/{}.pem", folder.path, name), issued.certificate, 0644);
  };
  LACONIC_ASSIGN_OR_RETURN(const CertificateAuthority authority,
                           CertificateAuthority::Create("laconic test authority", folder.validity));
  LACONIC_ASSIGN_OR_RETURN(const CertifiedKey server, authority.IssueServer(folder.names, folder.validity));
  LACONIC_RETURN_IF_ERROR(write("ca", authority.own()));
  LACONIC_RETURN_IF_ERROR(write("server", server));
  for (uint32_t client = 0; client < folder.clients; ++client) {
    LACONIC_ASSIGN_OR_RETURN(const CertifiedKey issued, authority.IssueClient(client, folder.validity));
    LACONIC_RETURN_IF_ERROR(write(fmt::format("client-{}", client), issued));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> FirstServerName(const std::string& certificate) {
  LACONIC_ASSIGN_OR_RETURN(const Certificate parsed, ParseCertificate(certificate));
  const AlternativeNames names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(parsed.get(), NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                         static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
    }
    if (name->type == GEN_IPADD) {
      const int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
      std::array<char, INET6_ADDRSTRLEN> text;
      if (inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text.data(), text.size()) != nullptr) {
        return std::string(text.data());
      }
    }
  }
  return absl::NotFoundError("the server's certificate is for no DNS name and no IP address");
}

}  // namespace laconic
