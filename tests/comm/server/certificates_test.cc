#include "laconic/comm/server/certificates.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/base/matchers.h"
#include "tests/comm/server/test_server.h"

namespace laconic {
namespace {

using ::testing::HasSubstr;

class Folder : public ::testing::Test {
 protected:
  std::string path_ = (std::filesystem::temp_directory_path() / "laconic-certificates-XXXXXX").string();

  void SetUp() override { ASSERT_NE(mkdtemp(path_.data()), nullptr); }
  void TearDown() override { std::filesystem::remove_all(path_); }
  mode_t ModeOf(const std::string& name) const {
    struct stat about = {};
    return stat((path_ + "/" + name).c_str(), &about) == 0 ? about.st_mode & 0777 : 0;
  }
  absl::Status Write(uint32_t clients) const {
    const std::vector<std::string> names = {"localhost", "127.0.0.1"};
    return WriteCertificates({.path = path_ + "/made", .names = names, .clients = clients, .validity = ToDay()});
  }
};

TEST(ClientCertificateName, RoundTrip) {
  EXPECT_EQ(ClientCertificateName(7), "laconic-client-7");
  EXPECT_THAT(ClientOfCertificateName("laconic-client-4294967295"), IsOk());
  EXPECT_EQ(*ClientOfCertificateName("laconic-client-0"), 0u);
}

TEST(ClientCertificateName, AnythingElse_IsInvalidArgument) {
  for (const char* name : {"", "laconic-client-", "laconic-client-07", "laconic-client--1", "laconic-client-4294967296",
                           "laconic-client-1 ", "laconic-server", "Laconic-client-1"}) {
    EXPECT_THAT(ClientOfCertificateName(name), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("no client")));
  }
}

TEST_F(Folder, WriteCertificates_KeysArePrivateAndEverythingReadsBack) {
  ASSERT_THAT(Write(2), IsOk());
  for (const char* name : {"ca", "server", "client-0", "client-1"}) {
    EXPECT_EQ(ModeOf(std::string("made/") + name + ".key"), 0600u);
    EXPECT_EQ(ModeOf(std::string("made/") + name + ".pem"), 0644u);
  }
  const auto identity =
      TlsIdentity::Read(path_ + "/made/ca.pem", path_ + "/made/server.pem", path_ + "/made/server.key");
  ASSERT_THAT(identity, IsOk());
  EXPECT_EQ(*FirstServerName(identity->certificate), "localhost");
}

TEST_F(Folder, WriteCertificatesTwice_NeverOverwritesAKey) {
  ASSERT_THAT(Write(1), IsOk());
  EXPECT_THAT(Write(1), HasStatus(absl::StatusCode::kAlreadyExists, HasSubstr("ca.key")));
}

TEST_F(Folder, KeyThatOthersMayRead_IsPermissionDenied) {
  ASSERT_THAT(Write(0), IsOk());
  std::filesystem::permissions(path_ + "/made/server.key", std::filesystem::perms(0640));
  EXPECT_THAT(TlsIdentity::Read(path_ + "/made/ca.pem", path_ + "/made/server.pem", path_ + "/made/server.key"),
              HasStatus(absl::StatusCode::kPermissionDenied, HasSubstr("mode 640, expected 600")));
}

TEST_F(Folder, KeyOfAnotherCertificate_IsDataLoss) {
  ASSERT_THAT(Write(0), IsOk());
  EXPECT_THAT(TlsIdentity::Read(path_ + "/made/ca.pem", path_ + "/made/server.pem", path_ + "/made/ca.key"),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("is not the key of")));
}

TEST_F(Folder, TruncatedCertificate_IsDataLossAndNamesTheFile) {
  ASSERT_THAT(Write(0), IsOk());
  std::filesystem::resize_file(path_ + "/made/server.pem", 100);
  EXPECT_THAT(TlsIdentity::Read(path_ + "/made/ca.pem", path_ + "/made/server.pem", path_ + "/made/server.key"),
              HasStatus(absl::StatusCode::kDataLoss, HasSubstr("server.pem: not a certificate")));
}

TEST(CertificateAuthority, LoadedAgain_SignsAsBefore) {
  const auto again = CertificateAuthority::Load(TestAuthority().own());
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(again->IssueClient(3, ToDay()), IsOk());
}

TEST(CertificateAuthority, NameThatIsNoName_IsInvalidArgument) {
  for (const char* name : {"", "a,IP:10.0.0.1", "a b", "otherName:x"}) {
    const std::vector<std::string> names = {name};
    EXPECT_THAT(TestAuthority().IssueServer(names, ToDay()),
                HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("neither a DNS name nor an IP address")));
  }
}

TEST(CertificateAuthority, EmptyValidity_IsInvalidArgument) {
  const Validity validity = ToDay();
  EXPECT_THAT(TestAuthority().IssueClient(0, {.from = validity.to, .to = validity.from}),
              HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("laconic-client-0 would hold from")));
}

}  // namespace
}  // namespace laconic
