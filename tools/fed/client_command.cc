// `laconic fed client`: one client of a run that `laconic fed serve` serves, with data of its own.
#include <memory>
#include <optional>

#include "fmt/format.h"
#include "laconic/base/hash.h"
#include "laconic/base/status.h"
#include "laconic/comm/server/client.h"
#include "laconic/optim/federated/client_state.h"
#include "tools/fed/description.h"
#include "tools/fed/fed.h"
#include "tools/fed/problem.h"
#include "tools/progress.h"

namespace laconic::tools {
namespace {

struct ClientFlags {
  std::string server, server_name, data, certificates, state;
  uint32_t id = 0;
  double retry_seconds = 300;
  bool insecure = false, progress = false;
};

// The rounds of one client, from registration to the end of the run.
class ClientRun {
 public:
  explicit ClientRun(const ClientFlags& flags) : flags_(flags), progress_(flags.progress) {}

  absl::Status Run() {
    LACONIC_RETURN_IF_ERROR(Join());
    uint64_t from_round = 0;
    while (true) {
      LACONIC_ASSIGN_OR_RETURN(const Task task, server_->NextTask(from_round));
      if (task.kind == Task::Kind::kFinished) break;
      LACONIC_RETURN_IF_ERROR(TakePart(task.round));
      from_round = task.round + 1;
    }
    progress_.Clear();
    const ServerClient::Traffic& traffic = server_->traffic();
    fmt::print(
        "client {}: the run is finished; {} updates counted, {} came too late; {:.3g} MB sent, {:.3g} MB received\n",
        flags_.id, counted_, late_, static_cast<double>(traffic.bytes_sent) / 1e6,
        static_cast<double>(traffic.bytes_received) / 1e6);
    return absl::OkStatus();
  }

 private:
  absl::Status Join() {
    ServerClientOptions options{.server = flags_.server,
                                .client = flags_.id,
                                .server_name = flags_.server_name,
                                .connect_for = absl::Seconds(flags_.retry_seconds),
                                .retry_for = absl::Seconds(flags_.retry_seconds)};
    options.on_retry = [this](std::string_view why) { progress_.Note(fmt::format("client {}: {}", flags_.id, why)); };
    if (!flags_.insecure) {
      const std::string& folder = flags_.certificates;
      LACONIC_ASSIGN_OR_RETURN(options.tls,
                               TlsIdentity::Read(folder + "/ca.pem", fmt::format("{}/client-{}.pem", folder, flags_.id),
                                                 fmt::format("{}/client-{}.key", folder, flags_.id)));
    }
    LACONIC_ASSIGN_OR_RETURN(server_, ServerClient::Create(std::move(options)));
    LACONIC_ASSIGN_OR_RETURN(const Registration registration, server_->Register());

    LACONIC_ASSIGN_OR_RETURN(description_, ParseDescription(registration.run.description));
    description_.data = flags_.data;
    LACONIC_ASSIGN_OR_RETURN(problem_, FederatedProblem::Load(description_));
    if (problem_->clients().samples(flags_.id) == 0) {
      return absl::InvalidArgumentError(fmt::format("--data {} has no samples of client {}", flags_.data, flags_.id));
    }
    LACONIC_ASSIGN_OR_RETURN(objective_, problem_->MakeObjective(description_));
    LACONIC_ASSIGN_OR_RETURN(worker_, FederatedClient::Create(description_.Plan(), objective_.get()));
    std::optional<ClientState::Taken> taken;
    if (const auto& last = registration.last_accepted) taken = {.round = last->round, .digest = last->digest};
    LACONIC_ASSIGN_OR_RETURN(state_, ClientState::Open({.folder = flags_.state,
                                                        .run = registration.run.id,
                                                        .client = flags_.id,
                                                        .vectors = worker_->method().client_vectors().size(),
                                                        .elements = problem_->elements()},
                                                       taken));
    return absl::OkStatus();
  }

  absl::Status TakePart(uint64_t round) {
    LACONIC_ASSIGN_OR_RETURN(const bool open, server_->Pull(round, worker_->known(), broadcast_));
    if (!open) return absl::OkStatus();
    LACONIC_RETURN_IF_ERROR(worker_->Receive(round, broadcast_));
    LACONIC_ASSIGN_OR_RETURN(const FederatedClient::Result update, worker_->Run(flags_.id, state_->vectors()));
    LACONIC_RETURN_IF_ERROR(state_->Prepare({.round = round, .digest = Hash64(update.bytes)},
                                            [this](auto vectors) { worker_->Commit(vectors); }));
    const absl::StatusOr<PushOutcome> outcome = server_->Push(round, update.bytes);
    if (!outcome.ok()) {
      // Unless the update itself was refused, the server may have taken it: the next start of this client asks it.
      if (absl::IsInvalidArgument(outcome.status())) LACONIC_RETURN_IF_ERROR(state_->Drop());
      return outcome.status();
    }
    const bool counts = *outcome != PushOutcome::kLate;
    LACONIC_RETURN_IF_ERROR(counts ? state_->Keep() : state_->Drop());
    ++(counts ? counted_ : late_);
    progress_.Note(fmt::format("client {}: round {} of {}, loss {:.4f}, {} bytes{}", flags_.id, round + 1,
                               description_.rounds, update.loss, update.bytes.size(), counts ? "" : ", too late"));
    return absl::OkStatus();
  }

  const ClientFlags& flags_;
  Progress progress_;
  std::unique_ptr<ServerClient> server_;
  RunDescription description_;
  std::unique_ptr<FederatedProblem> problem_;
  std::unique_ptr<LocalObjective> objective_;
  std::unique_ptr<FederatedClient> worker_;
  std::optional<ClientState> state_;
  std::vector<std::byte> broadcast_;
  uint64_t counted_ = 0, late_ = 0;
};

absl::StatusOr<Answer> Run(const ClientFlags& flags) {
  if (flags.insecure != flags.certificates.empty()) {
    return absl::InvalidArgumentError("either --certs, or --insecure on this machine");
  }
  IgnoreLockOrder();
  LACONIC_RETURN_IF_ERROR(ClientRun(flags).Run());
  return Answer::kYes;
}

}  // namespace

Command AddFedClient(CLI::App& fed) {
  CLI::App* client = fed.add_subcommand("client", "Take part in a run that a server elsewhere serves");
  client->footer(
      "What is trained, and how, the server says; the data stay here. A client that is killed goes on where it "
      "stopped, "
      "with the same --state: an update counts once or not at all.\n\n"
      "  laconic fed client --id 3 --data parts/part-3 --server training.example.org:5700 --certs certs --state "
      "client-3");
  auto flags = std::make_shared<ClientFlags>();
  client->add_option("--id", flags->id, "Which client this is, from 0; its certificate says so too")->required();
  client->add_option("--server", flags->server, "HOST:PORT")->required();
  client->add_option("--data", flags->data, "This client's samples: a folder of laconic fed split")->required();
  client->add_option("--state", flags->state, "Folder for what it keeps from round to round")->required();
  client->add_option("--certs", flags->certificates, "Folder with ca.pem, client-<id>.pem and client-<id>.key");
  client->add_option("--server-name", flags->server_name,
                     "What the server's certificate is for [the host of --server]");
  client
      ->add_option("--retry-for", flags->retry_seconds,
                   "Seconds for which a server that does not answer is tried again")
      ->check(CLI::Range(0.1, 1e6))
      ->capture_default_str();
  client->add_flag("--insecure", flags->insecure, "Plain text, to a server on this machine only");
  client->add_flag("--progress", flags->progress, "Say on stderr how far it is, also where that is no terminal");
  return {client, [flags] { return Run(*flags); }};
}

}  // namespace laconic::tools
