// What transports that wrap another have in common: they are that transport, but for Exchange.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "comm/transport/poison.h"
#include "comm/transport/sleeper.h"
#include "laconic/comm/transport/transport.h"

namespace laconic::internal {

// The derived class writes Exchange, which may sleep in sleeper_ and keeps its first error in poison_, and Subgroup.
class TransportDecorator : public Transport {
 public:
  explicit TransportDecorator(std::unique_ptr<Transport> inner) : inner_(std::move(inner)) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  Memory memory() const override { return inner_->memory(); }
  std::string host() const override { return inner_->host(); }
  void Abort(const absl::Status& why) noexcept override {
    inner_->Abort(poison_.Set(why));
    sleeper_.Wake();
  }

 protected:
  std::unique_ptr<Transport> inner_;
  Poison poison_;
  Sleeper sleeper_;
};

}  // namespace laconic::internal
