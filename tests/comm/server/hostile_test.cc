// Clients that are strangers, liars or slow, at the level of messages: what docs/parameter-server.md promises of each.
#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "comm/server/grpc/credentials.h"
#include "comm/server/grpc/grpc_status.h"
#include "comm/server/grpc/parameter_server.grpc.pb.h"
#include "laconic/base/hash.h"
#include "tests/base/matchers.h"
#include "tests/comm/server/test_server.h"

namespace laconic {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kIncarnation = 1000;

// A connection with any certificate, from which any message can be sent.
class RawClient {
 public:
  RawClient(const TestServer& server, const TlsIdentity& identity) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // what nobody reads is not taken from the server either
    channel_ = grpc::CreateCustomChannel(server.address(), internal::ChannelCredentials(identity), arguments);
    stub_ = v1::ParameterServer::NewStub(channel_);
  }

  v1::ParameterServer::Stub& stub() { return *stub_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }

  absl::Status Register(uint32_t client, uint64_t run = 7) {
    grpc::ClientContext context;
    v1::RegisterRequest request;
    *request.mutable_caller() = Named(client, run);
    v1::RegisterReply reply;
    return internal::FromGrpc(stub_->Register(&context, request, &reply));
  }

  static v1::Caller Named(uint32_t client, uint64_t run = 7) {
    v1::Caller caller;
    caller.set_run(run);
    caller.set_client(client);
    caller.set_incarnation(kIncarnation);
    return caller;
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::ParameterServer::Stub> stub_;
};

v1::PushMessage Declaration(uint32_t client, uint64_t round, uint64_t update_bytes, uint64_t digest, uint64_t run = 7) {
  v1::PushMessage message;
  *message.mutable_declaration()->mutable_caller() = RawClient::Named(client, run);
  message.mutable_declaration()->set_round(round);
  message.mutable_declaration()->set_update_bytes(update_bytes);
  message.mutable_declaration()->set_digest(digest);
  return message;
}

// One push, step by step.
struct RawPush {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::PushMessage, v1::PushReply>> stream;

  explicit RawPush(RawClient& client) : stream(client.stub().Push(&context)) {}
  v1::PushReply::Verdict Read() {
    v1::PushReply reply;
    return stream->Read(&reply) ? reply.verdict() : v1::PushReply::UNKNOWN;
  }
  // Whether the server is still there to take it is its own affair.
  void Send(const std::string& data) {
    v1::PushMessage message;
    message.set_data(data);
    stream->Write(message);
  }
  absl::Status Finish() {
    stream->WritesDone();
    return internal::FromGrpc(stream->Finish());
  }
};

// Declares `data` truly and uploads it; the last verdict, and how the call ended.
std::pair<v1::PushReply::Verdict, absl::Status> PushWhole(RawClient& client, uint32_t number, uint64_t round,
                                                          const std::string& data) {
  RawPush push(client);
  push.stream->Write(Declaration(number, round, data.size(), Hash64(data)));
  v1::PushReply::Verdict verdict = push.Read();
  if (verdict == v1::PushReply::SEND) {
    push.Send(data);
    verdict = push.Read();
  }
  return {verdict, push.Finish()};
}

std::string UpdateText(double number, size_t update_bytes = 64) {
  const std::vector<std::byte> update = SumWork::Update(number, update_bytes);
  return std::string(reinterpret_cast<const char*>(update.data()), update.size());
}

ServerClientOptions Impatient(ServerClientOptions options) {
  options.connect_for = absl::Milliseconds(300);
  return options;
}

// ---- Strangers and impostors.

// gRPC's client cannot tell whether the server refused its certificate or went away; what counts is that nothing is let
// in.
absl::Status RegisterWith(const TestServer& server, const TlsIdentity& identity) {
  ServerClientOptions options = Impatient(server.ClientOptions(0));
  options.tls = identity;
  return (*ServerClient::Create(options))->Register().status();
}

TEST(HostileClient, WithoutCertificate_IsNotLetIn) {
  TestServer server({});
  EXPECT_FALSE(RegisterWith(server, {.authorities = TestAuthority().own().certificate}).ok());
  server.Stop();
  EXPECT_EQ(server.counters()[Counter::kRegistrations], 0u);
}

TEST(HostileClient, OfAnotherAuthority_IsNotLetIn) {
  TestServer server({});
  const CertificateAuthority other = *CertificateAuthority::Create("laconic tests", ToDay());  // the same name
  TlsIdentity identity = other.Identity(*other.IssueClient(0, ToDay()));
  EXPECT_THAT(RegisterWith(server, identity), HasStatus(absl::StatusCode::kUnauthenticated, HasSubstr("client 0")))
      << "the client does not believe the server either";
  identity.authorities = TestAuthority().own().certificate;
  EXPECT_FALSE(RegisterWith(server, identity).ok());
  server.Stop();
  EXPECT_EQ(server.counters()[Counter::kRegistrations], 0u);
}

TEST(HostileClient, WithExpiredCertificate_IsNotLetIn) {
  TestServer server({});
  const absl::Time now = absl::Now();
  const Validity over = {.from = now - absl::Hours(48), .to = now - absl::Hours(24)};
  EXPECT_FALSE(RegisterWith(server, TestAuthority().Identity(*TestAuthority().IssueClient(0, over))).ok());
  server.Stop();
  EXPECT_EQ(server.counters()[Counter::kRegistrations], 0u);
}

TEST(HostileServer, OfAnotherName_IsNotBelieved) {
  TestServer server({});
  ServerClientOptions options = Impatient(server.ClientOptions(0));
  options.server_name = "elsewhere.example";
  EXPECT_THAT((*ServerClient::Create(options))->Register(),
              HasStatus(absl::StatusCode::kUnauthenticated, HasSubstr("elsewhere.example is not in peer certificate")));
}

TEST(ParameterServer, ExpiredCertificateOfItsOwn_DoesNotStart) {
  const absl::Time now = absl::Now();
  const std::vector<std::string> names = {"127.0.0.1"};
  const Validity over = {.from = now - absl::Hours(48), .to = now - absl::Hours(24)};
  SumWork work(1, 8, 8);
  MemoryDisk disk;
  const auto journal = MakeMemoryJournal(&disk);
  MachineOptions options;
  options.run = {.id = 7, .description = "", .clients = 1, .rounds = 1};
  const auto machine = RoundMachine::Create(options, &work, journal.get(), now);
  ASSERT_THAT(machine, IsOk());
  ServerOptions server;
  server.tls = TestAuthority().Identity(*TestAuthority().IssueServer(names, over));
  EXPECT_THAT(ParameterServer::Start(machine->get(), server),
              HasStatus(absl::StatusCode::kUnavailable, HasSubstr("does not reach itself through TLS")));
}

TEST(HostileClient, WithAnotherClientsNumber_IsPermissionDeniedAndBothAreNamed) {
  TestServer server({});
  RawClient client(server, ClientIdentity(1));
  EXPECT_THAT(client.Register(0), HasStatus(absl::StatusCode::kPermissionDenied,
                                            HasSubstr("client 1's certificate does not speak for client 0")));
  ASSERT_THAT(client.Register(1), IsOk());
  EXPECT_THAT(PushWhole(client, 0, 0, UpdateText(1)).second,
              HasStatus(absl::StatusCode::kPermissionDenied, HasSubstr("does not speak for client 0")));
  EXPECT_THAT(server.server().MetricsText(), HasSubstr("\nlaconic_refused_identities_total 2\n"));
}

TEST(HostileClient, WithACertificateOfTheAuthorityThatIsNoClients_IsUnauthenticated) {
  TestServer server({});
  RawClient client(server, ServerIdentity());
  EXPECT_THAT(client.Register(0), HasStatus(absl::StatusCode::kUnauthenticated, HasSubstr("names no client")));
}

TEST(HostileClient, NotOnTheList_IsPermissionDenied) {
  TestServer server({.server = {.tls = ServerIdentity(), .allowed_clients = {0, 2}}});
  RawClient listed(server, ClientIdentity(2)), unlisted(server, ClientIdentity(1)), beyond(server, ClientIdentity(99));
  EXPECT_THAT(listed.Register(2), IsOk());
  EXPECT_THAT(unlisted.Register(1), HasStatus(absl::StatusCode::kPermissionDenied, HasSubstr("client 1 is not on")));
  EXPECT_THAT(beyond.Register(99), HasStatus(absl::StatusCode::kNotFound, HasSubstr("clients 0 to 7")));
}

TEST(HostileClient, OfAnotherRun_IsRefused) {
  TestServer server({});
  RawClient client(server, ClientIdentity(0));
  EXPECT_THAT(client.Register(0, 8), HasStatus(absl::StatusCode::kFailedPrecondition, HasSubstr("run")));
}

TEST(HostileClient, ThatSpeaksNoTls_IsEnded) {
  TestServer server({});
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.server().port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  ASSERT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
  std::string answer(4096, '\0');  // an alert at most
  ssize_t got = 0;
  while ((got = recv(fd, answer.data(), answer.size(), 0)) > 0) EXPECT_LT(got, 64);
  close(fd);
}

// ---- Replays, and updates that are not what they should be.

TEST(HostileClient, ReplayOfAnOldPush_HasNoEffect) {
  TestServer server({.clients = 1, .rounds = 3});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  for (const uint64_t round : {0, 1}) {
    EXPECT_EQ(PushWhole(client, 0, round, UpdateText(10)).first, v1::PushReply::ACCEPTED);
  }
  // Round 1 is the client's last: the same bytes are known. Of round 0 nothing is kept but that it is over.
  EXPECT_EQ(PushWhole(client, 0, 1, UpdateText(10)).first, v1::PushReply::ALREADY_ACCEPTED);
  EXPECT_NE(PushWhole(client, 0, 0, UpdateText(10)).first, v1::PushReply::ACCEPTED);
  EXPECT_THAT(PushWhole(client, 0, 1, UpdateText(11)).second,
              HasStatus(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("client 0"), HasSubstr("round 1"))));
  server.Stop();
  EXPECT_EQ(server.total(), 20);
}

TEST(HostileClient, DeclaresTooMuch_IsRefusedBeforeTheUpload) {
  TestServer server({.rules = {.max_update_bytes = 1000}});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  for (const uint64_t update_bytes : {uint64_t{1001}, uint64_t{1} << 60, std::numeric_limits<uint64_t>::max()}) {
    RawPush push(client);
    push.stream->Write(Declaration(0, 0, update_bytes, 1));
    EXPECT_EQ(push.Read(), v1::PushReply::UNKNOWN);
    EXPECT_THAT(push.Finish(), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("1000")));
  }
}

TEST(HostileClient, SendsMoreThanDeclared_IsInvalidArgumentAndTheRoomIsGivenBack) {
  TestServer server({});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  RawPush push(client);
  push.stream->Write(Declaration(0, 0, 64, 1));
  ASSERT_EQ(push.Read(), v1::PushReply::SEND);
  push.Send(std::string(60, 'x'));
  push.Send(std::string(60, 'x'));
  EXPECT_THAT(
      push.Finish(),
      HasStatus(absl::StatusCode::kInvalidArgument,
                HasSubstr("client 0, round 0: the upload goes on with 56 bytes more than declared after 60 of 64")));
  EXPECT_EQ(PushWhole(client, 0, 0, UpdateText(1)).first, v1::PushReply::ACCEPTED);
}

TEST(HostileClient, SendsAMessageAboveAPiece_IsRefusedWhileItArrives) {
  TestServer server({});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  RawPush push(client);
  push.stream->Write(Declaration(0, 0, 4 << 20, 1));
  ASSERT_EQ(push.Read(), v1::PushReply::SEND);
  push.Send(std::string(2 << 20, 'x'));
  EXPECT_THAT(push.Finish(), HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("larger than max")));
}

TEST(HostileClient, OtherMessagesThanTheProtocols_AreInvalidArgument) {
  TestServer server({});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  {
    RawPush push(client);
    push.Send("no declaration");
    EXPECT_THAT(push.Finish(), HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("begins with its declaration")));
  }
  for (const bool twice : {false, true}) {
    RawPush push(client);
    push.stream->Write(Declaration(0, 0, 64, 1));
    ASSERT_EQ(push.Read(), v1::PushReply::SEND);
    push.stream->Write(twice ? Declaration(0, 0, 64, 1) : v1::PushMessage());
    EXPECT_THAT(push.Finish(),
                HasStatus(absl::StatusCode::kInvalidArgument, HasSubstr("no piece of 1 to 1048576 bytes")));
  }
  {
    RawPush push(client);
    push.stream->Write(Declaration(0, 0, 64, 1));
    ASSERT_EQ(push.Read(), v1::PushReply::SEND);
    push.Send("half");
    EXPECT_THAT(push.Finish(), HasStatus(absl::StatusCode::kAborted, HasSubstr("broke off after 4 of 64 bytes")));
  }
}

TEST(HostileClient, OtherBytesThanItsDigest_IsDataLoss) {
  TestServer server({});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  RawPush push(client);
  push.stream->Write(Declaration(0, 0, 64, 12345));
  ASSERT_EQ(push.Read(), v1::PushReply::SEND);
  push.Send(UpdateText(1));
  EXPECT_EQ(push.Read(), v1::PushReply::UNKNOWN);
  EXPECT_THAT(push.Finish(), HasStatus(absl::StatusCode::kDataLoss, HasSubstr("client 0")));
}

TEST(HostileClient, NumberThatIsNotFinite_IsRefusedAndTheClientNamed) {
  TestServer server({.clients = 2, .rounds = 1});
  RawClient client(server, ClientIdentity(1));
  ASSERT_THAT(client.Register(1), IsOk());
  EXPECT_THAT(PushWhole(client, 1, 0, UpdateText(std::nan(""))).second,
              HasStatus(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("client 1"), HasSubstr("not finite"))));
}

// ---- Too slow, too much.

ServerLimits QuickLimits() {
  return {.progress_grace = absl::Milliseconds(200), .min_bytes_per_second = uint64_t{1} << 20};
}

TEST(HostileClient, UploadThatDrips_IsEndedAndTheRoomIsGivenBack) {
  TestServer server({.server = {.tls = ServerIdentity(), .limits = QuickLimits()}});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  RawPush push(client);
  push.stream->Write(Declaration(0, 0, 64, 1));
  ASSERT_EQ(push.Read(), v1::PushReply::SEND);
  push.Send("d");
  EXPECT_EQ(push.Read(), v1::PushReply::UNKNOWN);  // waits until the server has had enough
  EXPECT_THAT(push.Finish(),
              HasStatus(absl::StatusCode::kDeadlineExceeded, HasSubstr("client 0, round 0: 1 of 64 bytes")));
  EXPECT_EQ(PushWhole(client, 0, 0, UpdateText(1)).first, v1::PushReply::ACCEPTED);
}

TEST(HostileClient, PushThatDeclaresNothing_IsEnded) {
  TestServer server({.server = {.tls = ServerIdentity(), .limits = QuickLimits()}});
  RawClient client(server, ClientIdentity(0));
  RawPush push(client);
  EXPECT_EQ(push.Read(), v1::PushReply::UNKNOWN);
  EXPECT_THAT(push.Finish(), HasStatus(absl::StatusCode::kDeadlineExceeded, HasSubstr("0 of 0 bytes")));
}

// 64 MiB: more than the sockets and flow-control windows between them take.
TEST(HostileClient, DownloadThatNobodyReads_IsEnded) {
  TestServer server(
      {.broadcast_bytes = size_t{64} << 20, .server = {.tls = ServerIdentity(), .limits = QuickLimits()}});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  grpc::ClientContext context;
  v1::PullRequest request;
  *request.mutable_caller() = RawClient::Named(0);
  const auto reader = client.stub().Pull(&context, request);
  reader->WaitForInitialMetadata();
  while (server.server().MetricsText().find("\nlaconic_ended_transfers_total 1\n") == std::string::npos) {
    std::this_thread::yield();
  }
  context.TryCancel();
  EXPECT_FALSE(reader->Finish().ok());
}

TEST(HostileClient, MoreCallsThanItsLimit_AreToldWhenToComeAgain) {
  ServerLimits limits;
  limits.max_calls_per_client = 1;
  TestServer server({.server = {.tls = ServerIdentity(), .limits = limits}});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  RawPush open(client);
  open.stream->Write(Declaration(0, 0, 64, 1));
  ASSERT_EQ(open.Read(), v1::PushReply::SEND);
  grpc::ClientContext context;
  v1::HeartbeatRequest request;
  *request.mutable_caller() = RawClient::Named(0);
  v1::HeartbeatReply reply;
  EXPECT_THAT(internal::FromGrpc(client.stub().Heartbeat(&context, request, &reply)),
              HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("client 0 has 1 calls open")));
  const auto& trailers = context.GetServerTrailingMetadata();
  ASSERT_EQ(trailers.count("retry-after-ms"), 1u);
  EXPECT_EQ(trailers.find("retry-after-ms")->second, "100");
  RawClient other(server, ClientIdentity(1));
  EXPECT_THAT(other.Register(1), IsOk()) << "another client's limit is its own";
}

// Room for one update: the second client is put off, and gets in when the first has given up.
TEST(HostileClient, HoldsAllTheRoom_OthersAreToldWhenToComeAgain) {
  TestServer server(
      {.rules = {.max_update_bytes = 64, .max_bytes_in_flight = 64, .retry_after = absl::Milliseconds(7)}});
  RawClient holder(server, ClientIdentity(0)), second(server, ClientIdentity(1));
  ASSERT_THAT(holder.Register(0), IsOk());
  ASSERT_THAT(second.Register(1), IsOk());
  auto held = std::make_unique<RawPush>(holder);
  held->stream->Write(Declaration(0, 0, 64, 1));
  ASSERT_EQ(held->Read(), v1::PushReply::SEND);
  RawPush put_off(second);
  put_off.stream->Write(Declaration(1, 0, 64, 1));
  EXPECT_EQ(put_off.Read(), v1::PushReply::UNKNOWN);
  EXPECT_THAT(put_off.Finish(), HasStatus(absl::StatusCode::kResourceExhausted, HasSubstr("no room for 64 bytes")));
  EXPECT_EQ(put_off.context.GetServerTrailingMetadata().find("retry-after-ms")->second, "7");
  held->context.TryCancel();
  EXPECT_FALSE(held->Finish().ok());
  v1::PushReply::Verdict verdict = v1::PushReply::UNKNOWN;
  while (verdict != v1::PushReply::ACCEPTED) verdict = PushWhole(second, 1, 0, UpdateText(1)).first;
}

// ---- Services besides.

TEST(ParameterServer, HealthService_SaysServing) {
  TestServer server({});
  RawClient client(server, ClientIdentity(0));
  const auto check = [&](const std::string& service, v1::HealthCheckResponse& response) {
    const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check", grpc::internal::RpcMethod::NORMAL_RPC);
    grpc::ClientContext context;
    v1::HealthCheckRequest request;
    request.set_service(service);
    return internal::FromGrpc(
        grpc::internal::BlockingUnaryCall(client.channel().get(), method, &context, request, &response));
  };
  v1::HealthCheckResponse response;
  for (const char* service : {"", "laconic.v1.ParameterServer"}) {
    ASSERT_THAT(check(service, response), IsOk());
    EXPECT_EQ(response.status(), v1::HealthCheckResponse::SERVING);
  }
  EXPECT_THAT(check("another", response), HasStatus(absl::StatusCode::kNotFound, HasSubstr("no such service")));
}

TEST(ParameterServer, Status_TellsHowTheRunStands) {
  TestServer server({.clients = 3, .rounds = 2});
  RawClient client(server, ClientIdentity(0));
  ASSERT_THAT(client.Register(0), IsOk());
  ASSERT_EQ(PushWhole(client, 0, 0, UpdateText(1)).first, v1::PushReply::ACCEPTED);
  v1::StatusReply reply;
  do {  // what is shown follows the answer by a moment
    grpc::ClientContext context;
    ASSERT_TRUE(client.stub().Status(&context, v1::StatusRequest(), &reply).ok());
  } while (reply.accepted() == 0);
  EXPECT_EQ(reply.run(), 7u);
  EXPECT_EQ(reply.description(), "sum");
  EXPECT_EQ(reply.rounds(), 2u);
  EXPECT_EQ(reply.open_round(), 0u);
  EXPECT_EQ(reply.participants(), 3u);
  EXPECT_EQ(reply.failure(), "");
}

}  // namespace
}  // namespace laconic
