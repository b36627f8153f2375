// SPDX-License-Identifier: Apache-2.0
#include "server/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "raw_client.h"

namespace sluice::server {
namespace {

using test::RawClient;
using testing::AnyOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class HttpTest : public testing::Test {
 protected:
  void TearDown() override {
    if (server_) server_->stop(std::chrono::milliseconds(0));  // handlers are through
    waiting_.reset();
  }

  void start(HttpOptions options = {}) {
    options.port = 0;
    auto server = HttpServer::start(
        options,
        [](const HttpRequest& request) -> std::optional<HttpResponse> {
          if (request.path == "/refused") return HttpResponse{403, "no"};
          return std::nullopt;
        },
        [this](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
          handle(request, exchange);
        },
        [](int status, const std::string& message) {
          return HttpResponse{status, message};
        });
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }

  void handle(const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
    if (request.path == "/echo") {
      exchange->respond({200, request.method + " " + request.query + " " + request.body});
    } else if (request.path == "/stream") {
      exchange->begin_stream({}, ": ping\n\n");
      for (const char* part : {"one", "", "two"}) exchange->write(part);
      exchange->end();
      exchange->write("never");
    } else if (request.path == "/wait") {
      exchange->begin_stream({}, ": ping\n\n");
      exchange->write("begun");
      exchange->on_gone([this] { ++gone_; });
      waiting_ = exchange;
    } else if (request.path == "/large") {
      exchange->begin_stream({}, "");
      for (int n = 0; n < 40; ++n) exchange->write(std::string(1 << 20, 'x'));
      exchange->on_gone([this] { ++gone_; });
      waiting_ = exchange;
    }  // else no answer
  }

  RawClient client() { return RawClient(server_->port()); }
  bool eventually(const std::function<bool()>& condition) {
    for (int n = 0; n < 500 && !condition(); ++n)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return condition();
  }

  std::atomic<int> gone_{0};
  std::shared_ptr<Exchange> waiting_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTest, AnswersAndKeepsTheConnection) {
  start();
  RawClient c = client();
  for (int n = 0; n < 3; ++n) {
    c.send("POST /echo?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    const std::string answer = c.read_until("POST a=b hello");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("Content-Length: 14\r\n"));
    EXPECT_THAT(answer, HasSubstr("Connection: keep-alive\r\n"));
  }
  c.send(
      "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_THAT(c.read_until("abcde"), HasSubstr("200 OK"));
  c.send("GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(c.read_all(), HasSubstr("Connection: close"));
}

TEST_F(HttpTest, RequestsThatComeTogether) {
  start();
  RawClient c = client();
  c.send(
      "GET /echo?1 HTTP/1.1\r\n\r\nGET /echo?2 HTTP/1.1\r\n\r\nGET /echo?3 HTTP/1.1\r\nConnection: "
      "close\r\n\r\n");
  const std::string all = c.read_all();
  EXPECT_LT(all.find("GET 1"), all.find("GET 2"));
  EXPECT_LT(all.find("GET 2"), all.find("GET 3"));
  EXPECT_THAT(all, HasSubstr("GET 3"));
}

TEST_F(HttpTest, Streams) {
  start();
  RawClient c = client();
  c.send("GET /stream HTTP/1.1\r\n\r\n");
  const std::string chunked = c.read_until("0\r\n\r\n");
  // Pieces that come close together may travel as one.
  EXPECT_THAT(chunked, AnyOf(EndsWith("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
                             EndsWith("\r\n\r\n6\r\nonetwo\r\n0\r\n\r\n")));
  c.send("GET /stream HTTP/1.0\r\n\r\n");
  const std::string plain = c.read_all();
  EXPECT_THAT(plain, EndsWith("\r\n\r\nonetwo"));
  EXPECT_THAT(plain, Not(HasSubstr("chunked")));
}

TEST_F(HttpTest, HearsOfClientsThatGo) {
  start();
  for (int n = 1; n <= 20; ++n) {
    RawClient c = client();
    c.send("GET /wait HTTP/1.1\r\n\r\n");
    c.read_until("begun");
    c.close();
    ASSERT_TRUE(eventually([&] { return gone_ == n; }));
    waiting_->write("into nothing");
    waiting_.reset();
  }
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_F(HttpTest, GivesUpClientsThatDoNotRead) {
  HttpOptions options;
  options.write_time = std::chrono::seconds(1);
  start(options);
  RawClient c = client();
  c.send("GET /large HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_F(HttpTest, SilentStreamsArePinged) {
  HttpOptions options;
  options.ping = std::chrono::milliseconds(30);
  start(options);
  RawClient c = client();
  c.send("GET /wait HTTP/1.1\r\n\r\n");
  EXPECT_THAT(c.read_until(": ping\n\n"), HasSubstr("begun"));
  c.read_until(": ping\n\n");
  waiting_->end();
  c.read_until("0\r\n\r\n");
  waiting_.reset();
}

TEST_F(HttpTest, AForgottenAnswerIsAnError) {
  start();
  EXPECT_EQ(client().status("GET /none HTTP/1.1\r\nConnection: close\r\n\r\n"), 500);
}

TEST_F(HttpTest, Limits) {
  HttpOptions options;
  options.body_bytes = 1000;
  options.header_bytes = 2000;
  start(options);
  const std::string big(3000, 'x');
  EXPECT_EQ(client().status("POST /echo HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), 413);
  EXPECT_EQ(client().status("POST /echo HTTP/1.1\r\nContent-Length: 3000\r\n\r\n" + big), 413);
  EXPECT_EQ(client().status("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n" +
                            big + "\r\n"),
            413);
  EXPECT_EQ(client().status("GET /echo HTTP/1.1\r\nA: " + big + "\r\n\r\n"), 431);
  std::string many;
  for (int n = 0; n < 10001; ++n) many += "A: b\r\n";
  EXPECT_EQ(client().status("GET /echo HTTP/1.1\r\n" + many + "\r\n"), 431);
  EXPECT_EQ(client().status("GET /" + big + " HTTP/1.1\r\n\r\n"), 431);
  EXPECT_EQ(client().status("POST /refused HTTP/1.1\r\nContent-Length: 900\r\n\r\n"), 403);
}

TEST_F(HttpTest, Malformed) {
  start();
  for (const char* text :
       {"\r\n\r\nnonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n", "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n bad\x01\x02: c\r\n\r\n"}) {
    const int status = client().status(text);
    EXPECT_TRUE(status == 400 || status == 413) << text << ": " << status;
  }
  EXPECT_EQ(client().status("GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n"), 200);
}

TEST_F(HttpTest, SlowClientsAreDropped) {
  HttpOptions options;
  options.header_time = std::chrono::seconds(1);
  options.body_time = std::chrono::seconds(1);
  options.idle_time = std::chrono::seconds(1);
  start(options);
  RawClient header = client(), body = client(), idle = client();
  header.send("GET /ec");
  body.send("POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  idle.send("GET /echo HTTP/1.1\r\n\r\n");
  idle.read_until("GET");
  // A byte now and then does not help.
  for (int n = 0; n < 8; ++n) {
    header.send("h");
    body.send("x");
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    if (n == 1) {
      EXPECT_EQ(server_->connections(), 3u);
    }
  }
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_F(HttpTest, WhoWaitsWithoutARequestMakesRoom) {
  HttpOptions options;
  options.connections = 8;
  start(options);
  std::vector<RawClient> idle;
  for (int n = 0; n < 50; ++n) {
    idle.push_back(client());
    if (n % 10 == 0) {
      EXPECT_EQ(client().status("GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n"), 200);
    }
  }
  EXPECT_LE(server_->connections(), 8u);
}

TEST_F(HttpTest, StopsInTime) {
  start();
  RawClient busy = client(), idle = client();
  busy.send("GET /wait HTTP/1.1\r\n\r\n");
  busy.read_until("begun");
  const auto ended = std::async(std::launch::async, [&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    waiting_->write("the end");
    waiting_->end();
    waiting_.reset();
  });
  server_->stop(std::chrono::seconds(10));
  EXPECT_THAT(busy.read_all(), HasSubstr("the end"));
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_THROW(client(), std::runtime_error);
}

TEST(HttpStart, NamesWhatIsWrong) {
  const auto message = [](HttpOptions options) {
    const auto server = HttpServer::start(options, {}, {}, {});
    return server ? "" : server.error().message;
  };
  HttpOptions options;
  options.host = "no such name.invalid";
  EXPECT_THAT(message(options), HasSubstr("--host"));
  options = {};
  options.cert_file = options.key_file = "/nonexistent";
  EXPECT_THAT(message(options), HasSubstr("--ssl-cert-file /nonexistent"));
}

}  // namespace
}  // namespace sluice::server
