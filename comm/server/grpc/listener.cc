#include "comm/server/grpc/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr int kBacklog = 1024;
constexpr absl::Duration kSweep = absl::Seconds(1);  // how often closed connections are noticed at the latest
constexpr int kNoDescriptorMs = 20;                  // pause after the last descriptor was used up

union AnyAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

socklen_t Fill(const SocketAddress& address, uint16_t port, AnyAddress& filled) {
  std::memset(&filled, 0, sizeof(filled));
  if (inet_pton(AF_INET, address.host.c_str(), &filled.v4.sin_addr) == 1) {
    filled.v4.sin_family = AF_INET;
    filled.v4.sin_port = htons(port);
    return sizeof(filled.v4);
  }
  filled.v6.sin6_family = AF_INET6;
  filled.v6.sin6_port = htons(port);
  inet_pton(AF_INET6, address.host.c_str(), &filled.v6.sin6_addr);
  return sizeof(filled.v6);
}

uint64_t InodeOf(int fd) {
  struct stat about = {};
  return fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode) ? about.st_ino : 0;
}

// With a reset, so that the peer hears at once and no state stays behind.
void Reset(int fd) {
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close(fd);
}

}  // namespace

absl::StatusOr<SocketAddress> SocketAddress::Parse(const std::string& text) {
  SocketAddress address;
  const size_t colon = text.rfind(':');
  if (colon != std::string::npos) {
    address.host = text.substr(0, colon);
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, address.port);
    if (error == std::errc() && stop == end) {
      if (address.host == "localhost") address.host = "127.0.0.1";
      if (address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']') {
        address.host = address.host.substr(1, address.host.size() - 2);
      }
      in_addr v4;
      in6_addr v6;
      if (inet_pton(AF_INET, address.host.c_str(), &v4) == 1) {
        address.is_loopback = (ntohl(v4.s_addr) >> 24) == 127;
        return address;
      }
      if (inet_pton(AF_INET6, address.host.c_str(), &v6) == 1) {
        address.is_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
        return address;
      }
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is no address to listen at: expected a numeric host and a port, as in 127.0.0.1:5000", text));
}

Listener::Listener(ListenerOptions options) : options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Create(ListenerOptions options) {
  std::unique_ptr<Listener> listener(new Listener(std::move(options)));
  LACONIC_ASSIGN_OR_RETURN(listener->listening_, listener->Open(listener->options_.address.port));
  AnyAddress bound;
  socklen_t length = sizeof(bound);
  getsockname(listener->listening_, &bound.any, &length);
  listener->port_ = ntohs(bound.any.sa_family == AF_INET ? bound.v4.sin_port : bound.v6.sin6_port);
  listener->wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  listener->spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (listener->wake_ < 0 || listener->spare_ < 0) {
    return absl::ResourceExhaustedError("no descriptor is free for the listener");
  }
  listener->thread_ = std::thread([own = listener.get()] { own->Loop(); });
  return listener;
}

Listener::~Listener() {
  stopping_ = true;
  if (thread_.joinable()) {
    eventfd_write(wake_, 1);
    thread_.join();
  }
  for (const Connection& connection : silent_) Reset(connection.fd);
  for (const int fd : {listening_, wake_, spare_}) {
    if (fd >= 0) close(fd);
  }
}

absl::StatusOr<int> Listener::Open(uint16_t port) const {
  AnyAddress address;
  const socklen_t length = Fill(options_.address, port, address);
  const int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (fd < 0 || bind(fd, &address.any, length) != 0 || listen(fd, kBacklog) != 0) {
    const std::string why = std::strerror(errno);
    if (fd >= 0) close(fd);
    return absl::UnavailableError(fmt::format("listening at {} port {}: {}", options_.address.host, port, why));
  }
  return fd;
}

void Listener::Reopen() {
  reopen_ = true;
  eventfd_write(wake_, 1);
}

Listener::Counts Listener::counts() const {
  return {.open = open_, .accepted = accepted_count_, .refused = refused_count_, .silent = silent_count_};
}

void Listener::Loop() {
  const absl::Duration sweep = std::clamp(options_.first_byte_timeout / 4, absl::Milliseconds(10), kSweep);
  std::vector<pollfd> polled;
  while (!stopping_) {
    if (reopen_.exchange(false) && listening_ >= 0) {
      close(listening_);
      listening_ = -1;
    }
    if (listening_ < 0) listening_ = Open(port_).value_or(-1);
    polled.clear();
    polled.push_back({.fd = wake_, .events = POLLIN, .revents = 0});
    polled.push_back({.fd = listening_, .events = POLLIN, .revents = 0});  // poll() passes over negative ones
    for (const Connection& connection : silent_) {
      polled.push_back({.fd = connection.fd, .events = POLLIN, .revents = 0});
    }
    poll(polled.data(), polled.size(), static_cast<int>(absl::ToInt64Milliseconds(sweep)));
    eventfd_t ignored;
    if (polled[0].revents != 0) eventfd_read(wake_, &ignored);
    SeeToSilent(polled);
    std::erase_if(handed_over_,
                  [](const Connection& connection) { return InodeOf(connection.fd) != connection.inode; });
    if ((polled[1].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
      close(listening_);
      listening_ = -1;
    } else if (polled[1].revents != 0) {
      AcceptAll();
    }
    open_ = silent_.size() + handed_over_.size();
  }
}

// Hands over those that have spoken, closes those that have ended or waited too long.
void Listener::SeeToSilent(const std::vector<pollfd>& polled) {
  const absl::Time now = absl::Now();
  std::deque<Connection> still_silent;
  for (size_t i = 0; i < silent_.size(); ++i) {
    const Connection& connection = silent_[i];
    const short revents = polled[i + 2].revents;
    char first;
    if ((revents & POLLIN) != 0 && recv(connection.fd, &first, 1, MSG_PEEK) == 1) {
      handed_over_.push_back(connection);
      options_.hand_over(connection.fd);
    } else if (revents != 0 || now - connection.accepted > options_.first_byte_timeout) {
      ++silent_count_;
      Reset(connection.fd);
    } else {
      still_silent.push_back(connection);
    }
  }
  silent_ = std::move(still_silent);
}

void Listener::AcceptAll() {
  for (int burst = 0; burst < kBacklog; ++burst) {
    const int fd = accept4(listening_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Admit(fd);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
    // No descriptor left. Silent connections go first; then the spare one serves to turn the newcomer away.
    if (!silent_.empty()) {
      CloseOldestSilent();
      continue;
    }
    if (spare_ >= 0) {
      close(spare_);
      const int refused = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      if (refused >= 0) {
        ++refused_count_;
        Reset(refused);
      }
    }
    spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
    poll(nullptr, 0, kNoDescriptorMs);
    return;
  }
}

void Listener::Admit(int fd) {
  if (silent_.size() + handed_over_.size() >= options_.max_connections) {
    if (silent_.empty()) {
      ++refused_count_;
      Reset(fd);
      return;
    }
    CloseOldestSilent();
  }
  const int on = 1;
  const auto user_timeout_ms = static_cast<unsigned>(absl::ToInt64Milliseconds(options_.user_timeout));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
  silent_.push_back({.fd = fd, .inode = InodeOf(fd), .accepted = absl::Now()});
  ++accepted_count_;
}

void Listener::CloseOldestSilent() {
  ++silent_count_;
  Reset(silent_.front().fd);
  silent_.pop_front();
}

}  // namespace laconic::internal
