// `laconic fed certs`: an authority, and the certificates of a server and its clients.
#include <memory>

#include "fmt/format.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/certificates.h"
#include "tools/fed/fed.h"

namespace laconic::tools {
namespace {

constexpr uint32_t kMaxClients = 100'000;
constexpr int kMaxDays = 3650;

struct CertsFlags {
  std::vector<std::string> names = {"localhost", "127.0.0.1"};
  uint32_t clients = 8;
  int days = 365;
  std::string output;
};

absl::StatusOr<Answer> WriteFolder(const CertsFlags& flags) {
  LACONIC_RETURN_IF_ERROR(WriteCertificates({.path = flags.output,
                                             .names = flags.names,
                                             .clients = flags.clients,
                                             .validity = Validity::Days(absl::Now(), flags.days)}));
  fmt::print(
      "{0}/ca.pem, server.pem, client-0.pem to client-{1}.pem, and a .key of each, valid for {2} days\n"
      "A client needs ca.pem and its own two files, and nothing else of this folder.\n",
      flags.output, flags.clients - 1, flags.days);
  return Answer::kYes;
}

}  // namespace

Command AddFedCerts(CLI::App& fed) {
  CLI::App* certs = fed.add_subcommand("certs", "Make certificates for a server and its clients");
  certs->footer(
      "Server and clients prove to each other who they are (mutual TLS); the number of a client is part of its "
      "certificate, so none can speak for another. An authority of your own can issue the same: "
      "docs/parameter-server.md "
      "has the names.\n\n"
      "  laconic fed certs --names training.example.org --clients 50 -o certs");
  auto flags = std::make_shared<CertsFlags>();
  certs->add_option("--names", flags->names, "DNS names and addresses under which clients dial the server")
      ->delimiter(',')
      ->capture_default_str();
  certs->add_option("--clients", flags->clients, "How many clients")
      ->check(CLI::Range(1u, kMaxClients))
      ->capture_default_str();
  certs->add_option("--days", flags->days, "How long they are valid")
      ->check(CLI::Range(1, kMaxDays))
      ->capture_default_str();
  certs->add_option("-o,--output", flags->output, "The folder to write; a key in it is never overwritten")->required();
  return {certs, [flags] { return WriteFolder(*flags); }};
}

}  // namespace laconic::tools
