// SPDX-License-Identifier: Apache-2.0
#include "server/http.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "server/http_connection.h"

namespace sluice::server {

std::string_view HttpRequest::header(std::string_view name) const {
  const auto found = std::ranges::find_if(headers, [&](const auto& h) { return h.first == name; });
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

struct HttpServer::Impl final : ConnectionHost {
  Impl(const HttpOptions& o, Gate g, Handler h, Refusal r)
      : gate_(std::move(g)), handler_(std::move(h)), refusal_(std::move(r)), pool(o.threads) {
    settings = o;
  }

  Gate gate_;
  Handler handler_;
  Refusal refusal_;
  asio::io_context context;
  asio::thread_pool pool;
  tcp::acceptor acceptor{context};
  asio::steady_timer retry{context};
  std::optional<asio::ssl::context> tls;
  std::thread thread;
  std::mutex mutex;
  std::condition_variable none_left;
  std::atomic<size_t> open{0};
  std::atomic<bool> stopping{false};
  std::list<ConnectionBase*> waiting;  // for a request, longest first
  std::list<ConnectionBase*> all;

  Status listen();
  void accept();
  void make_room();
  void run();

  // --- ConnectionHost; on the context's thread ---
  asio::io_context& io() override { return context; }
  bool ending() const override { return stopping; }
  std::optional<HttpResponse> gate(const HttpRequest& request) override { return gate_(request); }
  HttpResponse refuse(int status, const std::string& message) override {
    return refusal_(status, message);
  }
  void handle(std::shared_ptr<HttpRequest> request, std::shared_ptr<Exchange> exchange) override {
    asio::post(pool, [this, request = std::move(request), exchange = std::move(exchange)] {
      try {
        handler_(*request, exchange);
      } catch (const std::exception& error) {  // no memory: the exchange says that something failed
        spdlog::error("{}: {}", request->path, error.what());
      }
    });
  }
  void waits(ConnectionBase* connection, bool on) override {
    waiting.remove(connection);
    if (on) waiting.push_back(connection);
  }
  void opened(ConnectionBase* connection) override {
    all.push_back(connection);
    ++open;
  }
  void closed(ConnectionBase* connection) override {
    all.remove(connection);
    waiting.remove(connection);
    const std::lock_guard lock(mutex);
    --open;
    none_left.notify_all();
  }
};

Status HttpServer::Impl::listen() {
  const HttpOptions& o = settings;
  if (!o.cert_file.empty() || !o.key_file.empty()) {
    boost::system::error_code error;
    tls.emplace(asio::ssl::context::tls_server);
    tls->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                         asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                         asio::ssl::context::no_tlsv1_1,
                     error);
    tls->use_certificate_chain_file(o.cert_file, error);
    if (error)
      return fail(ErrorKind::kUsage, "--ssl-cert-file {}: {}: a PEM certificate is needed",
                  o.cert_file, error.message());
    tls->use_private_key_file(o.key_file, asio::ssl::context::pem, error);
    if (error)
      return fail(ErrorKind::kUsage, "--ssl-key-file {}: {}: the certificate's PEM key is needed",
                  o.key_file, error.message());
  }
  boost::system::error_code error;
  const auto found = tcp::resolver(context).resolve(
      o.host, std::to_string(o.port), tcp::resolver::passive | tcp::resolver::numeric_service,
      error);
  if (error || found.empty())
    return fail(ErrorKind::kUsage, "--host {}: {}: use an address of this machine", o.host,
                error.message());
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error)
    return fail(ErrorKind::kIo, "{}:{}: {}: use another --port or --host", o.host, o.port,
                error.message());
  return {};
}

// Who opens connections and sends nothing must not keep the others out.
void HttpServer::Impl::make_room() {
  while (open >= settings.connections && !waiting.empty())
    waiting.front()->evict();  // takes it off the lists
}

void HttpServer::Impl::accept() {
  acceptor.async_accept([this](boost::system::error_code error, tcp::socket socket) {
    if (!acceptor.is_open()) return;
    if (error) {  // out of descriptors, most likely: they come back
      retry.expires_after(std::chrono::milliseconds(50));
      retry.async_wait([this](boost::system::error_code) { accept(); });
      return;
    }
    make_room();
    if (open < settings.connections) {
      boost::system::error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      if (tls)
        start_connection(*this, std::move(socket), &*tls);
      else
        start_connection(*this, std::move(socket), nullptr);
    }
    accept();
  });
}

// Memory that runs out ends the connection whose step it was, by its destructor.
void HttpServer::Impl::run() {
  for (;;) try {
      context.run();
      return;
    } catch (const std::exception& error) {
      spdlog::error("a connection failed: {}", error.what());
    }
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpOptions& options, Gate gate,
                                                      Handler handler, Refusal refusal) {
  auto impl =
      std::make_unique<Impl>(options, std::move(gate), std::move(handler), std::move(refusal));
  SLUICE_TRY(impl->listen());
  impl->accept();
  impl->thread = std::thread([raw = impl.get()] { raw->run(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() {
  stop(std::chrono::milliseconds(0));
}

uint16_t HttpServer::port() const {
  boost::system::error_code error;
  return impl_->acceptor.local_endpoint(error).port();
}

size_t HttpServer::connections() const {
  return impl_->open;
}

void HttpServer::stop(std::chrono::milliseconds time) {
  Impl& s = *impl_;
  if (!s.thread.joinable()) return;
  s.stopping = true;
  asio::post(s.context, [&s] {
    boost::system::error_code error;
    s.acceptor.close(error);
    s.retry.cancel();
    const std::list<ConnectionBase*> idle = s.waiting;
    for (ConnectionBase* connection : idle) connection->evict();
  });
  {
    std::unique_lock lock(s.mutex);
    s.none_left.wait_for(lock, time, [&s] { return s.open == 0; });
  }
  s.pool.join();  // what handlers still do is short
  asio::post(s.context, [&s] {
    const std::list<ConnectionBase*> left = s.all;
    for (ConnectionBase* connection : left) connection->evict();
    s.context.stop();
  });
  s.thread.join();
}

}  // namespace sluice::server
