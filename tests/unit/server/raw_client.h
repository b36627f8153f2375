// SPDX-License-Identifier: Apache-2.0
// A client that sends exactly what it is told, right or wrong.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::test {

class RawClient {
 public:
  explicit RawClient(uint16_t port) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{20, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("cannot connect");
  }
  ~RawClient() { close(); }
  RawClient(RawClient&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}

  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // closed by the other side: what it said can still be read
      text.remove_prefix(static_cast<size_t>(sent));
    }
  }
  // Nothing more will be sent.
  void half_close() { shutdown(socket_, SHUT_WR); }
  // Until `mark` has come, or the end of the connection; throws when neither comes.
  std::string read_until(std::string_view mark) {
    while (mark.empty() || received_.find(mark) == std::string::npos) {
      char buffer[4096];
      const ssize_t count = recv(socket_, buffer, sizeof buffer, 0);
      if (count < 0 && errno == EAGAIN) throw std::runtime_error("nothing comes: " + received_);
      if (count <= 0) return std::exchange(received_, {});
      received_.append(buffer, static_cast<size_t>(count));
    }
    const size_t end = received_.find(mark) + mark.size();
    std::string result = received_.substr(0, end);
    received_.erase(0, end);
    return result;
  }
  std::string read_all() { return read_until(""); }
  // The status line's number, after a request that closes.
  int status(std::string_view text) {
    send(text);
    const std::string answer = read_all();
    return answer.size() > 12 ? std::stoi(answer.substr(9, 3)) : 0;
  }

 private:
  int socket_;
  std::string received_;
};

}  // namespace sluice::test
