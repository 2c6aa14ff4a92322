// A broadcast on its way down.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "comm/server/grpc/call.h"
#include "comm/server/grpc/parameter_server.pb.h"
#include "comm/server/grpc/service.h"

namespace laconic::internal {

// One serialised PullPiece each.
struct PreparedBroadcast {
  std::vector<grpc::ByteBuffer> pieces;
  uint64_t total_bytes = 0;
};

inline grpc::ByteBuffer Serialised(const v1::PullPiece& piece) {
  const grpc::Slice slice(piece.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

inline PreparedBroadcast Prepared(std::span<const std::byte> bytes) {
  PreparedBroadcast prepared;
  prepared.total_bytes = bytes.size();
  v1::PullPiece piece;
  piece.set_total_bytes(bytes.size());
  do {
    const auto part = bytes.first(std::min(bytes.size(), kMaxPieceBytes));
    piece.set_data(part.data(), part.size());
    prepared.pieces.push_back(Serialised(piece));
    bytes = bytes.subspan(part.size());
  } while (!bytes.empty());
  return prepared;
}

inline PreparedBroadcast LatePiece() {
  v1::PullPiece piece;
  piece.set_late(true);
  PreparedBroadcast prepared;
  prepared.pieces.push_back(Serialised(piece));
  return prepared;
}

class PullCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public TransferCall {
 public:
  PullCall(ServiceCore* core, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request)
      : core_(core), context_(context) {
    core_->Add(this);
    v1::PullRequest parsed;
    grpc::ByteBuffer bytes(*request);  // parsing takes it
    if (!grpc::SerializationTraits<v1::PullRequest>::Deserialize(&bytes, &parsed).ok()) {
      End(absl::InvalidArgumentError("not a PullRequest"));
      return;
    }
    if (const absl::Status entered = ticket_.Enter(core, context, parsed.caller().client()); !entered.ok()) {
      End(entered);
      return;
    }
    core_->thread().Post([this, parsed = std::move(parsed)](RoundMachine& machine, absl::Time now) {
      const absl::StatusOr<Pulled> pulled =
          machine.Pull(CallerOf(parsed.caller()), parsed.round(), parsed.known(), now);
      if (!pulled.ok()) {
        End(pulled.status());
        return;
      }
      broadcast_ = pulled->late ? std::make_shared<const PreparedBroadcast>(LatePiece())
                                : core_->Prepare(parsed.round(), parsed.known(), pulled->bytes);
      begin_ = now;
      begun_.store(true, std::memory_order_release);
      WriteNext();
    });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      End(absl::CancelledError("the client has gone"));
      return;
    }
    WriteNext();
  }

  void EndIfSlow(absl::Time now) override {
    if (!begun_.load(std::memory_order_acquire)) return;
    const uint64_t written_bytes = uint64_t{written_.load()} * kMaxPieceBytes;
    if (now <= core_->SlowAfter(begin_, broadcast_->total_bytes, written_bytes)) return;
    if (!slow_.exchange(true)) ++core_->metrics().ended_transfers;
    context_->TryCancel();
  }

  void OnDone() override {
    core_->Remove(this);
    delete this;
  }

 private:
  ServiceCore* core_;
  grpc::CallbackServerContext* context_;
  Ticket ticket_;
  std::shared_ptr<const PreparedBroadcast> broadcast_;  // this and begin_: set before begun_
  absl::Time begin_;
  std::atomic<bool> begun_ = false, slow_ = false;
  std::atomic<size_t> written_ = 0;  // pieces
  size_t next_ = 0;

  void WriteNext() {
    written_ = next_;
    const grpc::ByteBuffer* const piece = &broadcast_->pieces[next_++];
    core_->metrics().sent_bytes += piece->Length();
    if (next_ < broadcast_->pieces.size()) {
      StartWrite(piece);
    } else {
      core_->metrics().Count(Method::kPull, absl::StatusCode::kOk);
      StartWriteAndFinish(piece, grpc::WriteOptions(), grpc::Status::OK);
    }
  }

  void End(const absl::Status& status) {
    core_->metrics().Count(Method::kPull, status.code());
    Finish(ToGrpc(status));
  }
};

}  // namespace laconic::internal
