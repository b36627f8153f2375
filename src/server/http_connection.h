// SPDX-License-Identifier: Apache-2.0
// One client's connection; all of it runs on the thread of one io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <memory>

#include "server/http.h"

namespace sluice::server {

namespace asio = boost::asio;
using asio::ip::tcp;

class ConnectionBase {
 public:
  virtual ~ConnectionBase() = default;
  // Closes at once, whatever is under way.
  virtual void evict() = 0;
};

// What a connection needs of the server.
class ConnectionHost {
 public:
  virtual ~ConnectionHost() = default;
  virtual asio::io_context& io() = 0;
  virtual bool ending() const = 0;  // no further requests
  virtual std::optional<HttpResponse> gate(const HttpRequest& request) = 0;
  virtual HttpResponse refuse(int status, const std::string& message) = 0;
  virtual void handle(std::shared_ptr<HttpRequest> request, std::shared_ptr<Exchange> exchange) = 0;
  virtual void waits(ConnectionBase* connection, bool on) = 0;
  virtual void opened(ConnectionBase* connection) = 0;
  virtual void closed(ConnectionBase* connection) = 0;

  HttpOptions settings;
};

// Lives until its client is gone or it is evicted. `tls`: nullptr for plain text.
void start_connection(ConnectionHost& host, tcp::socket socket, asio::ssl::context* tls);

}  // namespace sluice::server
