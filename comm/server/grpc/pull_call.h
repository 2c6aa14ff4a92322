// A broadcast on its way down.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comm/server/grpc/call.h"
#include "comm/server/grpc/parameter_server.pb.h"
#include "comm/server/grpc/service.h"

namespace laconic::internal {

// A broadcast once in memory, whoever gets it: messages refer to it.
struct PreparedBroadcast {
  grpc::Slice bytes;
  std::vector<grpc::ByteBuffer> pieces;  // a serialised PullPiece each
};

// `message`, serialised, with field number `field` of type bytes behind it: a protobuf message is the sum of its
// fields.
inline grpc::ByteBuffer WithBytesField(const google::protobuf::MessageLite& message, uint32_t field,
                                       const grpc::Slice& bytes) {
  std::string head = message.SerializeAsString();
  const auto append_varint = [&head](uint64_t value) {
    for (; value >= 0x80; value >>= 7) head.push_back(static_cast<char>(value | 0x80));
    head.push_back(static_cast<char>(value));
  };
  append_varint(field << 3 | 2);  // wire type 2: length-delimited
  append_varint(bytes.size());
  const grpc::Slice slices[] = {grpc::Slice(head), bytes};
  return grpc::ByteBuffer(slices, 2);
}

inline PreparedBroadcast Prepared(std::span<const std::byte> bytes) {
  PreparedBroadcast prepared = {.bytes = grpc::Slice(bytes.data(), bytes.size()), .pieces = {}};
  v1::PullPiece piece;
  piece.set_total_bytes(bytes.size());
  size_t begin = 0;
  do {
    const size_t end = std::min(bytes.size(), begin + kMaxPieceBytes);
    prepared.pieces.push_back(WithBytesField(piece, v1::PullPiece::kDataFieldNumber, prepared.bytes.sub(begin, end)));
    begin = end;
  } while (begin < bytes.size());
  return prepared;
}

inline PreparedBroadcast LatePiece() {
  v1::PullPiece piece;
  piece.set_late(true);
  const grpc::Slice slice(piece.SerializeAsString());
  PreparedBroadcast prepared;
  prepared.pieces.emplace_back(&slice, 1);
  return prepared;
}

class PullCall : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public TransferCall {
 public:
  PullCall(ServiceCore* core, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request)
      : core_(core), context_(context) {
    core_->Add(this);
    v1::PullRequest parsed;
    if (!Parse(*request, &parsed)) {
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
    if (now <= core_->SlowAfter(begin_, broadcast_->bytes.size(), written_bytes)) return;
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
