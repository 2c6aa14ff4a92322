#include "comm/server/grpc/metrics_endpoint.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "laconic/base/status.h"

namespace laconic::internal {
namespace {

constexpr size_t kMaxRequestBytes = 4096;

std::string Response(std::string_view status, std::string_view body) {
  return fmt::format(
      "HTTP/1.0 {}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: "
      "close\r\n\r\n{}",
      status, body.size(), body);
}

// Up to the empty line that ends the headers; what has come by then if the peer is too slow or too long.
std::string ReadRequest(int fd) {
  std::string request;
  while (request.size() < kMaxRequestBytes && request.find("\r\n\r\n") == std::string::npos) {
    std::array<char, 512> piece;
    const ssize_t got = recv(fd, piece.data(), piece.size(), 0);
    if (got <= 0) break;
    request.append(piece.data(), static_cast<size_t>(got));
  }
  return request;
}

void WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    text.remove_prefix(static_cast<size_t>(sent));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> ServeMetrics(const std::string& address, std::function<std::string()> metrics,
                                                       std::function<std::string()> problem) {
  LACONIC_ASSIGN_OR_RETURN(const SocketAddress parsed, SocketAddress::Parse(address));
  if (!parsed.is_loopback) {
    return absl::PermissionDeniedError(
        fmt::format("metrics at {}: they are plain text, for loopback addresses only", address));
  }
  const auto answer = [metrics = std::move(metrics), problem = std::move(problem)](int fd) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    const timeval second = {.tv_sec = 1, .tv_usec = 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
    const std::string request = ReadRequest(fd);
    if (request.starts_with("GET /metrics ")) {
      WriteAll(fd, Response("200 OK", metrics()));
    } else if (request.starts_with("GET /healthz ")) {
      const std::string what = problem();
      WriteAll(fd, what.empty() ? Response("200 OK", "ok\n") : Response("503 Service Unavailable", what + "\n"));
    } else {
      WriteAll(fd, Response("404 Not Found", "GET /metrics or /healthz\n"));
    }
    shutdown(fd, SHUT_WR);
    close(fd);
  };
  return Listener::Create({.address = parsed,
                           .max_connections = 16,
                           .first_byte_timeout = absl::Seconds(1),
                           .user_timeout = absl::Seconds(1),
                           .hand_over = answer});
}

}  // namespace laconic::internal
