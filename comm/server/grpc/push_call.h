// An update on its way up.
#pragma once

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/server/grpc/call.h"
#include "comm/server/grpc/parameter_server.pb.h"
#include "comm/server/grpc/service.h"

namespace laconic::internal {

class PushCall : public grpc::ServerBidiReactor<v1::PushMessage, v1::PushReply>, public TransferCall {
 public:
  PushCall(ServiceCore* core, grpc::CallbackServerContext* context)
      : core_(core), context_(context), begin_(core->clock().Now()) {
    core_->Add(this);
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    std::unique_lock<std::mutex> lock(mutex_);
    if (state_ == State::kDeclaring) {
      Declared(ok, lock);
    } else if (state_ == State::kUploading) {
      Received(ok, lock);
    }
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      writing_ = false;
      if (state_ != State::kEnding) return;
    }
    Conclude();
  }

  void EndIfSlow(absl::Time now) override {
    std::unique_lock<std::mutex> lock(mutex_);
    if (state_ == State::kDeclaring || state_ == State::kUploading) {
      const absl::Time limit = core_->SlowAfter(begin_, update_bytes_, bytes_.size());
      if (now <= limit) return;
      ++core_->metrics().ended_transfers;
      const std::string what = fmt::format(
          "client {}, round {}: {} of {} bytes after {:.1f} s; expected {} bytes/s after {:.1f} s", caller_.client,
          round_, bytes_.size(), update_bytes_, absl::ToDoubleSeconds(now - begin_),
          core_->options().limits.min_bytes_per_second, absl::ToDoubleSeconds(core_->options().limits.progress_grace));
      core_->log().Write("slow_upload", {{"peer", context_->peer()}, {"error", what}});
      End(absl::DeadlineExceededError(what), lock);
    } else if (state_ == State::kEnding) {  // the reply waits for a client that does not read
      if (!end_by_.has_value()) end_by_ = now + core_->options().limits.progress_grace;
      if (now > *end_by_) context_->TryCancel();
    }
  }

  void OnDone() override {
    core_->Remove(this);
    delete this;
  }

 private:
  // kAsking: the machine has been asked, and nothing else happens until it answers.
  enum class State { kDeclaring, kAsking, kUploading, kEnding };

  ServiceCore* core_;
  grpc::CallbackServerContext* context_;
  Ticket ticket_;
  std::mutex mutex_;  // of everything below
  State state_ = State::kDeclaring;
  v1::PushMessage message_;
  v1::PushReply send_reply_, last_reply_;
  bool writing_ = false;
  absl::Status end_;  // how the call ends; OK: with last_reply_
  std::optional<absl::Time> end_by_;
  Caller caller_;
  uint64_t round_ = 0;
  uint64_t update_bytes_ = 0;
  uint64_t reservation_ = 0;  // 0: none, or no more this call's
  absl::Time begin_;          // of the declaration, then of the upload
  std::vector<std::byte> bytes_;

  void Declared(bool ok, std::unique_lock<std::mutex>& lock) {
    if (!ok || !message_.has_declaration() || !message_.data().empty()) {
      End(absl::InvalidArgumentError("a push begins with its declaration"), lock);
      return;
    }
    const v1::PushDeclaration& declaration = message_.declaration();
    caller_ = CallerOf(declaration.caller());
    round_ = declaration.round();
    update_bytes_ = declaration.update_bytes();
    if (const absl::Status entered = ticket_.Enter(core_, context_, caller_.client); !entered.ok()) {
      End(entered, lock);
      return;
    }
    state_ = State::kAsking;
    core_->thread().Post([this, digest = declaration.digest()](RoundMachine& machine, absl::Time now) {
      Admitted(machine.Admit(caller_, round_, update_bytes_, digest, now), now);
    });
  }

  void Admitted(const absl::StatusOr<Admission>& admission, absl::Time now) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!admission.ok()) {
      End(admission.status(), lock);
      return;
    }
    switch (admission->kind) {
      case Admission::Kind::kSend:
        break;
      case Admission::Kind::kAlreadyAccepted:
        EndWith(v1::PushReply::ALREADY_ACCEPTED, lock);
        return;
      case Admission::Kind::kLate:
        EndWith(v1::PushReply::LATE, lock);
        return;
      case Admission::Kind::kBusy:
        Ticket::SetRetryAfter(context_, admission->retry_after);
        End(absl::ResourceExhaustedError(
                fmt::format("client {}, round {}: no room for {} bytes now", caller_.client, round_, update_bytes_)),
            lock);
        return;
    }
    reservation_ = admission->reservation;
    bytes_.reserve(update_bytes_);
    begin_ = now;
    writing_ = true;
    send_reply_.set_verdict(v1::PushReply::SEND);
    state_ = update_bytes_ > 0 ? State::kUploading : State::kAsking;
    StartWrite(&send_reply_);
    if (update_bytes_ > 0) {
      StartRead(&message_);
    } else {
      PostPush();
    }
  }

  void Received(bool ok, std::unique_lock<std::mutex>& lock) {
    const std::string& data = message_.data();
    const auto refuse = [&](absl::Status (*error)(absl::string_view), std::string_view what) {
      End(error(fmt::format("client {}, round {}: the upload {} after {} of {} bytes", caller_.client, round_, what,
                            bytes_.size(), update_bytes_)),
          lock);
    };
    if (!ok) {
      refuse(absl::AbortedError, "broke off");
    } else if (message_.has_declaration() || data.empty() || data.size() > kMaxPieceBytes) {
      refuse(absl::InvalidArgumentError, "has a message that is no piece of 1 to 1048576 bytes");
    } else if (data.size() > update_bytes_ - bytes_.size()) {
      refuse(absl::InvalidArgumentError,
             fmt::format("goes on with {} bytes more than declared", data.size() - (update_bytes_ - bytes_.size())));
    } else {
      const auto* const begin = reinterpret_cast<const std::byte*>(data.data());
      bytes_.insert(bytes_.end(), begin, begin + data.size());
      core_->metrics().received_bytes += data.size();
      if (bytes_.size() < update_bytes_) {
        StartRead(&message_);
      } else {
        state_ = State::kAsking;
        PostPush();
      }
    }
  }

  void PostPush() {
    const uint64_t reservation = std::exchange(reservation_, 0);
    core_->thread().PostPush({.caller = caller_, .reservation = reservation, .bytes = std::move(bytes_)},
                             [this](absl::StatusOr<PushOutcome> outcome) { Pushed(outcome); });
  }

  void Pushed(const absl::StatusOr<PushOutcome>& outcome) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!outcome.ok()) {
      End(outcome.status(), lock);
    } else if (core_->LosesReply(Method::kPush, caller_.client)) {
      End(LostReply(), lock);
    } else {
      EndWith(*outcome == PushOutcome::kAccepted          ? v1::PushReply::ACCEPTED
              : *outcome == PushOutcome::kAlreadyAccepted ? v1::PushReply::ALREADY_ACCEPTED
                                                          : v1::PushReply::LATE,
              lock);
    }
  }

  void EndWith(v1::PushReply::Verdict verdict, std::unique_lock<std::mutex>& lock) {
    last_reply_.set_verdict(verdict);
    End(absl::OkStatus(), lock);
  }

  // The last thing the caller does; the call may be gone afterwards.
  void End(absl::Status status, std::unique_lock<std::mutex>& lock) {
    state_ = State::kEnding;
    end_ = std::move(status);
    if (reservation_ != 0) {
      core_->thread().Post([caller = caller_, reservation = reservation_](RoundMachine& machine, absl::Time) {
        machine.Cancel(caller, reservation);
      });
    }
    const bool conclude = !writing_;  // else OnWriteDone does
    lock.unlock();
    if (conclude) Conclude();
  }

  // By the one thread that found the call ending and nothing being written.
  void Conclude() {
    core_->metrics().Count(Method::kPush, end_.code());
    if (end_.ok()) {
      StartWriteAndFinish(&last_reply_, grpc::WriteOptions(), grpc::Status::OK);
    } else {
      Finish(ToGrpc(end_));
    }
  }
};

}  // namespace laconic::internal
