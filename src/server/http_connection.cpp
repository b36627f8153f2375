// SPDX-License-Identifier: Apache-2.0
#include "server/http_connection.h"

#include <atomic>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <deque>
#include <mutex>

namespace sluice::server {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using Error = boost::system::error_code;

// A client that reads nothing while so much waits for it is given up.
constexpr size_t kMostUnsent = size_t{16} << 20;
// After the last answer, what the client still sends is read away for so long: closing with unread
// bytes would take the answer back.
constexpr std::chrono::seconds kLinger{2};

// Pieces of a stream that follow one another faster are sent together: each would wake a thread and
// be a packet of its own. The first one after a pause goes at once.
constexpr std::chrono::milliseconds kGather{2};

// Pieces on their way from any thread to the context's.
struct Pieces {
  std::mutex mutex;
  std::string data;
  bool told = false;  // the context's thread knows that there is something

  std::string take() {
    const std::lock_guard lock(mutex);
    told = false;
    return std::exchange(data, {});
  }
};

std::string head_of(const HttpResponse& response, bool keep_alive, bool chunked,
                    std::optional<size_t> length) {
  std::string head = fmt::format(
      "HTTP/1.1 {} {}\r\nServer: sluice\r\nContent-Type: {}\r\n", response.status,
      std::string(
          http::obsolete_reason(http::int_to_status(static_cast<unsigned>(response.status)))),
      response.content_type);
  for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
  if (length) head += fmt::format("Content-Length: {}\r\n", *length);
  if (chunked) head += "Transfer-Encoding: chunked\r\n";
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

// What an exchange calls, on the context's thread. `serial`: of the request; others are ignored.
class Answering {
 public:
  virtual ~Answering() = default;
  virtual void respond(uint64_t serial, HttpResponse response) = 0;
  virtual void begin_stream(uint64_t serial, HttpResponse response, std::string ping) = 0;
  virtual void write(uint64_t serial, std::shared_ptr<Pieces> pieces) = 0;
  virtual void end(uint64_t serial, Pieces& pieces) = 0;
  virtual void drop(uint64_t serial) = 0;  // a stream that will not be completed
  virtual void on_gone(uint64_t serial, std::function<void()> call) = 0;
};

class ConnectionExchange final : public Exchange {
 public:
  ConnectionExchange(ConnectionHost& host, std::shared_ptr<Answering> connection, uint64_t serial)
      : host_(host), connection_(std::move(connection)), serial_(serial) {}
  ~ConnectionExchange() override {
    try {
      if (!answered_)
        respond(host_.refuse(500, "the request got no answer"));
      else if (!ended_)
        post([](Answering& c, uint64_t serial) { c.drop(serial); });
    } catch (const std::exception&) {  // no memory even for that: the client's patience ends it
    }
  }

  void respond(HttpResponse response) override {
    answered_ = ended_ = true;
    post([response = std::move(response)](Answering& c, uint64_t serial) mutable {
      c.respond(serial, std::move(response));
    });
  }
  void begin_stream(HttpResponse response, std::string ping) override {
    answered_ = true;
    post([response = std::move(response), ping = std::move(ping)](Answering& c,
                                                                  uint64_t serial) mutable {
      c.begin_stream(serial, std::move(response), std::move(ping));
    });
  }
  void write(std::string data) override {
    {
      const std::lock_guard lock(pieces_->mutex);
      if (ended_) return;
      pieces_->data += data;
      if (std::exchange(pieces_->told, true)) return;
    }
    post([pieces = pieces_](Answering& c, uint64_t serial) mutable {
      c.write(serial, std::move(pieces));
    });
  }
  void end() override {
    {
      const std::lock_guard lock(pieces_->mutex);
      ended_ = true;
    }
    post([pieces = pieces_](Answering& c, uint64_t serial) { c.end(serial, *pieces); });
  }
  void on_gone(std::function<void()> call) override {
    post([call = std::move(call)](Answering& c, uint64_t serial) mutable {
      c.on_gone(serial, std::move(call));
    });
  }

 private:
  template <typename F>
  void post(F f) {
    asio::post(host_.io(), [connection = connection_, serial = serial_,
                            f = std::move(f)]() mutable { f(*connection, serial); });
  }

  ConnectionHost& host_;
  std::shared_ptr<Answering> connection_;
  uint64_t serial_;
  std::shared_ptr<Pieces> pieces_ = std::make_shared<Pieces>();
  std::atomic<bool> answered_{false}, ended_{false};
};

template <typename Stream>
class Connection final : public ConnectionBase,
                         public Answering,
                         public std::enable_shared_from_this<Connection<Stream>> {
 public:
  template <typename... Args>
  explicit Connection(ConnectionHost& host, Args&&... args)
      : host_(host), stream_(std::forward<Args>(args)...), timer_(host.io()), gather_(host.io()) {
    host_.opened(this);
  }
  ~Connection() override {
    if (state_ != State::kClosed) host_.closed(this);
  }

  void start() {
    host_.waits(this, true);
    if constexpr (kTls) {
      bottom().expires_after(host_.settings.header_time);
      stream_.async_handshake(asio::ssl::stream_base::server,
                              [self = this->shared_from_this()](Error error) {
                                if (!error) self->read_header();
                              });
    } else {
      read_header();
    }
  }

  void evict() override { close(); }

  // --- answers ---

  void respond(uint64_t serial, HttpResponse response) override {
    if (serial != serial_ || state_ != State::kBusy || streaming_) return;
    std::optional<size_t> length = response.body.size();
    if (response.status == 204 || response.status == 304) length.reset();  // they never have one
    std::string answer = head_of(response, keep_alive_, false, length);
    if (!head_only_) answer += response.body;
    send(std::move(answer));
    finished();
  }

  void begin_stream(uint64_t serial, HttpResponse response, std::string ping) override {
    if (serial != serial_ || state_ != State::kBusy || streaming_) return;
    streaming_ = true;
    chunked_ = version_ >= 11;
    if (!chunked_) keep_alive_ = false;  // the end of the connection is the end of the answer
    ping_ = std::move(ping);
    send(head_of(response, keep_alive_, chunked_, std::nullopt));
    wait_for_silence();
  }

  void write(uint64_t serial, std::shared_ptr<Pieces> pieces) override {
    if (serial != serial_ || state_ != State::kBusy || !streaming_) return;
    const auto since = std::chrono::steady_clock::now() - last_piece_;
    if (since >= kGather) return send_piece(pieces->take());
    gather_.expires_after(kGather - since);
    gather_.async_wait([self = this->shared_from_this(), serial, pieces](Error error) {
      if (!error && serial == self->serial_ && self->state_ == State::kBusy)
        self->send_piece(pieces->take());
    });
  }

  void end(uint64_t serial, Pieces& pieces) override {
    if (serial != serial_ || state_ != State::kBusy || !streaming_) return;
    gather_.cancel();
    send_piece(pieces.take());
    if (state_ != State::kBusy) return;  // given up
    if (chunked_) send("0\r\n\r\n");
    finished();
  }

  void drop(uint64_t serial) override {
    if (serial == serial_ && state_ == State::kBusy) close();
  }

  void on_gone(uint64_t serial, std::function<void()> call) override {
    if (serial != serial_) return;
    if (state_ == State::kClosed)
      call();
    else if (state_ == State::kBusy)
      gone_ = std::move(call);
  }

 private:
  static constexpr bool kTls = !std::is_same_v<Stream, beast::tcp_stream>;
  enum class State { kReading, kBusy, kIdle, kClosing, kClosed };

  beast::tcp_stream& bottom() { return beast::get_lowest_layer(stream_); }

  // --- requests ---

  void read_header() {
    state_ = State::kReading;
    timer_.cancel();
    parser_.emplace();
    parser_->header_limit(host_.settings.header_bytes);
    parser_->body_limit(host_.settings.body_bytes);
    bottom().expires_after(host_.settings.header_time);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = this->shared_from_this()](Error error, size_t) { self->got_header(error); });
  }

  void got_header(Error error) {
    host_.waits(this, false);
    if (state_ != State::kReading) return;
    if (error) return refuse_malformed(error);
    const auto& message = parser_->get();
    version_ = message.version();
    keep_alive_ = message.keep_alive() && !host_.ending();
    request_ = std::make_shared<HttpRequest>();
    request_->method = std::string(message.method_string());
    head_only_ = request_->method == "HEAD";
    const std::string target(message.target());
    const size_t question = target.find('?');
    request_->path = target.substr(0, question);
    if (question != std::string::npos) request_->query = target.substr(question + 1);
    for (const auto& field : message) {
      std::string name(field.name_string());
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      request_->headers.emplace_back(std::move(name), std::string(field.value()));
    }
    if (auto refusal = host_.gate(*request_)) {
      if (!parser_->is_done()) keep_alive_ = false;  // the body stays unread
      return refuse(std::move(*refusal));
    }
    if (parser_->is_done()) return got_request();
    bottom().expires_after(host_.settings.body_time);
    if (beast::iequals(message[http::field::expect], "100-continue")) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::buffer(kContinue),
                        [self = this->shared_from_this()](Error failed, size_t) {
                          if (!failed) self->read_body();
                        });
      return;
    }
    read_body();
  }

  void read_body() {
    http::async_read(stream_, buffer_, *parser_,
                     [self = this->shared_from_this()](Error error, size_t) {
                       if (error) return self->refuse_malformed(error);
                       self->request_->body = std::move(self->parser_->get().body());
                       self->got_request();
                     });
  }

  void got_request() {
    if (state_ != State::kReading) return;
    parser_.reset();
    begin_answer();
    host_.handle(std::move(request_),
                 std::make_shared<ConnectionExchange>(host_, this->shared_from_this(), serial_));
  }

  void begin_answer() {
    state_ = State::kBusy;
    streaming_ = false;
    ++serial_;
    bottom().expires_never();
    if (buffer_.size() == 0) listen();
  }

  void refuse(HttpResponse response) {
    begin_answer();
    respond(serial_, std::move(response));
  }

  void refuse_malformed(Error error) {
    if (state_ != State::kReading) return;
    keep_alive_ = false;
    if (error == http::error::body_limit)
      return refuse(host_.refuse(
          413, fmt::format("the body has more than {} bytes", host_.settings.body_bytes)));
    if (error == http::error::header_limit)
      return refuse(host_.refuse(
          431, fmt::format("the header has more than {} bytes", host_.settings.header_bytes)));
    const bool malformed =
        error.category() == http::make_error_code(http::error::bad_method).category();
    if (malformed && error != http::error::end_of_stream && error != http::error::partial_message)
      return refuse(host_.refuse(400, "malformed HTTP request: " + error.message()));
    close();
  }

  // Hears of a client that goes, and of its next request.
  void listen() {
    if (listening_ || state_ == State::kClosed) return;
    listening_ = true;
    stream_.async_read_some(buffer_.prepare(4096),
                            [self = this->shared_from_this()](Error error, size_t bytes) {
                              self->heard(error, bytes);
                            });
  }

  void heard(Error error, size_t bytes) {
    listening_ = false;
    if (state_ == State::kClosing) {
      if (error) return close();
      buffer_.consume(buffer_.size());
      return listen();
    }
    if (error) return close();
    buffer_.commit(bytes);
    if (state_ == State::kIdle) read_header();
  }

  // --- sending ---

  void send_piece(std::string data) {
    if (data.empty()) return;
    silent_ = false;
    last_piece_ = std::chrono::steady_clock::now();
    send(chunked_ ? fmt::format("{:x}\r\n{}\r\n", data.size(), data) : std::move(data));
  }

  void send(std::string data) {
    if (state_ == State::kClosed) return;
    unsent_bytes_ += data.size();
    unsent_.push_back(std::move(data));
    if (unsent_bytes_ > kMostUnsent) return close();
    if (unsent_.size() == 1) send_next();
  }

  void send_next() {
    bottom().expires_after(host_.settings.write_time);
    asio::async_write(
        stream_, asio::buffer(unsent_.front()),
        [self = this->shared_from_this()](Error error, size_t) { self->sent(error); });
  }

  void sent(Error error) {
    if (error || state_ == State::kClosed) return close();
    unsent_bytes_ -= unsent_.front().size();
    unsent_.pop_front();
    if (!unsent_.empty()) return send_next();
    bottom().expires_never();
    if (done_) after_answer();
  }

  void wait_for_silence() {
    silent_ = true;
    timer_.expires_after(host_.settings.ping);
    timer_.async_wait([self = this->shared_from_this(), serial = serial_](Error error) {
      if (error || serial != self->serial_ || self->state_ != State::kBusy) return;
      if (self->silent_) self->send_piece(self->ping_);
      self->wait_for_silence();
    });
  }

  // The answer is complete, but maybe not sent.
  void finished() {
    timer_.cancel();
    gone_ = nullptr;
    ++serial_;  // nothing more comes of this request
    done_ = true;
    if (unsent_.empty()) after_answer();
  }

  void after_answer() {
    done_ = false;
    if (!keep_alive_ || host_.ending()) return linger();
    state_ = State::kIdle;
    host_.waits(this, true);
    if (buffer_.size() > 0) return read_header();
    timer_.expires_after(host_.settings.idle_time);
    timer_.async_wait([self = this->shared_from_this(), serial = serial_](Error error) {
      if (!error && serial == self->serial_ && self->state_ == State::kIdle) self->close();
    });
    listen();
  }

  void linger() {
    state_ = State::kClosing;
    timer_.expires_after(kLinger);
    timer_.async_wait([self = this->shared_from_this()](Error error) {
      if (!error) self->close();
    });
    if constexpr (kTls) {
      // A read may be under way: that of the shutdown would be a second one.
      if (listening_) return close();
      stream_.async_shutdown([self = this->shared_from_this()](Error) { self->close(); });
    } else {
      Error ignored;
      bottom().socket().shutdown(tcp::socket::shutdown_send, ignored);
      listen();
    }
  }

  void close() {
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    host_.closed(this);
    timer_.cancel();
    gather_.cancel();
    bottom().close();
    if (auto call = std::exchange(gone_, nullptr)) call();
  }

  ConnectionHost& host_;
  Stream stream_;
  asio::steady_timer timer_;   // silence in a stream, idleness, lingering
  asio::steady_timer gather_;  // until what has come is sent
  std::chrono::steady_clock::time_point last_piece_{};
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::shared_ptr<HttpRequest> request_;
  State state_ = State::kReading;
  uint64_t serial_ = 0;
  unsigned version_ = 11;
  bool keep_alive_ = false, head_only_ = false;
  bool streaming_ = false, chunked_ = false, silent_ = false;
  bool listening_ = false;
  bool done_ = false;  // all of the answer is in unsent_
  std::string ping_;
  std::function<void()> gone_;
  std::deque<std::string> unsent_;
  size_t unsent_bytes_ = 0;
};

}  // namespace

void start_connection(ConnectionHost& host, tcp::socket socket, asio::ssl::context* tls) {
  if (tls)
    std::make_shared<Connection<beast::ssl_stream<beast::tcp_stream>>>(host, std::move(socket),
                                                                       *tls)
        ->start();
  else
    std::make_shared<Connection<beast::tcp_stream>>(host, std::move(socket))->start();
}

}  // namespace sluice::server
