// SPDX-License-Identifier: Apache-2.0
// The whole server in front of a tiny model, by raw requests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "../engine/tiny_model.h"
#include "raw_client.h"
#include "server/service.h"

namespace sluice::server {
namespace {

using test::RawClient;
using testing::HasSubstr;
using testing::Not;

class RoutesTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.http.port = 0;
    options.scheduler.slots = 2;
    auto server = Server::start(*engine_, options);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  std::string ask(const std::string& method, const std::string& path, const std::string& body = "",
                  const std::string& headers = "") {
    RawClient client(server_->port());
    client.send(
        fmt::format("{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}"
                    "Content-Length: {}\r\n\r\n{}",
                    method, path, headers, body.size(), body));
    return client.read_all();
  }
  Json json(const std::string& answer) {
    return Json::parse(answer.substr(answer.find("\r\n\r\n") + 4), nullptr, false);
  }

  test::TinyEngine engine_{test::scripted_model("The quickly~")};
  std::unique_ptr<Server> server_;
};

TEST_F(RoutesTest, EveryRouteButHealthAndThePageNeedsTheKey) {
  ServerOptions options;
  options.api_keys = {"secret-1", "secret-2"};
  start(options);
  int guarded = 0;
  for (const Route& route : routes()) {
    const bool open =
        std::set<std::string>{"/health", "/v1/health", "/", "/index.html"}.contains(route.path);
    EXPECT_EQ(route.open, open) << route.path;
    // A stream that has no end.
    const std::string method = route.path == "/machine/stream" ? "HEAD" : route.method;
    for (const char* header : {"", "Authorization: Bearer wrong\r\n", "X-Api-Key: secret\r\n"}) {
      const std::string answer = ask(method, route.path, "{}", header);
      EXPECT_THAT(answer, HasSubstr(open ? "HTTP/1.1 200" : "HTTP/1.1 401")) << route.path;
    }
    const std::string answer = ask(method, route.path, "{}", "Authorization: Bearer secret-2\r\n");
    EXPECT_THAT(answer, Not(HasSubstr("HTTP/1.1 401"))) << route.path;
    EXPECT_THAT(answer, Not(HasSubstr("HTTP/1.1 5"))) << route.path;
    EXPECT_THAT(answer, Not(HasSubstr("secret"))) << route.path;
    guarded += !open;
  }
  EXPECT_GE(guarded, 15);
  // Nor can anybody tell which routes there are.
  EXPECT_THAT(ask("GET", "/nonsense"), HasSubstr("HTTP/1.1 401"));
}

TEST_F(RoutesTest, WrongRoutesAndMethods) {
  start();
  EXPECT_THAT(ask("GET", "/nonsense"), HasSubstr("HTTP/1.1 404"));
  const std::string answer = ask("GET", "/v1/chat/completions");
  EXPECT_THAT(answer, HasSubstr("HTTP/1.1 405"));
  EXPECT_THAT(answer, HasSubstr("Allow: POST"));
  EXPECT_THAT(ask("HEAD", "/health"), HasSubstr("HTTP/1.1 200"));
  EXPECT_THAT(ask("DELETE", "/../../etc/passwd"), HasSubstr("HTTP/1.1 404"));
}

TEST_F(RoutesTest, PagesOfOthersAreRefused) {
  start();
  EXPECT_THAT(ask("POST", "/tokenize", "{}", "Origin: https://evil.example\r\n"),
              HasSubstr("HTTP/1.1 403"));
  const std::string preflight =
      ask("OPTIONS", "/v1/models", "", "Origin: https://evil.example\r\n");
  EXPECT_THAT(preflight, HasSubstr("HTTP/1.1 403"));
  EXPECT_THAT(preflight, Not(HasSubstr("Access-Control-Allow-Origin")));
  ServerOptions options;
  options.origins = {"https://page.example"};
  start(options);
  EXPECT_THAT(ask("OPTIONS", "/v1/models", "", "Origin: https://page.example\r\n"),
              HasSubstr("Access-Control-Allow-Origin: https://page.example"));
  EXPECT_THAT(ask("GET", "/v1/models", "", "Origin: https://page.example\r\n"),
              HasSubstr("Access-Control-Allow-Origin: https://page.example"));
}

TEST_F(RoutesTest, Completions) {
  start();
  const Json answer = json(ask("POST", "/v1/completions", R"({"prompt": "T", "logprobs": 2})"));
  EXPECT_EQ(answer["choices"][0]["text"], "he quickly~") << answer;
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(answer["choices"][0]["logprobs"]["tokens"].size(), 11u);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12);
  const Json several =
      json(ask("POST", "/v1/completions",
               R"({"prompt": ["T", [113]], "n": 2, "max_tokens": 3, "echo": true})"));
  ASSERT_EQ(several["choices"].size(), 4u) << several;
  EXPECT_EQ(several["choices"][0]["text"], "The ");
  EXPECT_EQ(several["choices"][3]["text"], "quic");
  EXPECT_EQ(several["choices"][3]["finish_reason"], "length");
  const Json native =
      json(ask("POST", "/completion", R"({"prompt": "T", "stop": ["ick"], "n_probs": 1})"));
  EXPECT_EQ(native["content"], "he qu") << native;
  EXPECT_EQ(native["stop_type"], "word");
  EXPECT_EQ(native["stopping_word"], "ick");
  const std::string stream = ask("POST", "/completion", R"({"prompt": "T", "stream": true})");
  EXPECT_THAT(stream, HasSubstr(R"("content":"q")"));
  EXPECT_THAT(stream, HasSubstr(R"("stop_type":"eos")"));
}

TEST_F(RoutesTest, ErrorsNameTheField) {
  start();
  const auto error = [&](const std::string& path, const std::string& body) {
    const std::string answer = ask("POST", path, body);
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 400")) << path << " " << body;
    return json(answer)["error"]["param"];
  };
  const std::string chat = "/v1/chat/completions";
  EXPECT_EQ(error(chat, "{}"), "messages");
  EXPECT_EQ(error(chat, R"({"messages": []})"), "messages");
  EXPECT_EQ(error(chat, R"({"messages": [{"role": "king", "content": "x"}]})"), "messages[0].role");
  EXPECT_EQ(error(chat, R"({"messages": [{"role": "user"}]})"), "messages[0].content");
  EXPECT_EQ(error(chat, R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})"),
            "messages[0].content[0].type");
  EXPECT_EQ(
      error(chat,
            R"({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]})"),
      "tools[0].function");
  EXPECT_EQ(error(chat, R"({"messages": [{"role": "user", "content": "x"}],
                            "chat_template_kwargs": {"bos_token": "<|im_end|>"}})"),
            "chat_template_kwargs.bos_token");
  EXPECT_EQ(error("/completion", R"({"prompt": ""})"), "prompt");
  EXPECT_EQ(error("/completion", R"({"prompt": [-1]})"), "prompt[0]");
  EXPECT_EQ(error("/completion", R"({"prompt": [99999999999999999999]})"), "prompt[0]");
  EXPECT_EQ(error("/tokenize", R"({"content": 5})"), "content");
  EXPECT_EQ(error("/detokenize", R"({"tokens": [1, -1]})"), "tokens[1]");
  EXPECT_EQ(error("/v1/responses", R"({"input": [{"type": "file"}]})"), "input[0].type");
  const Json large =
      json(ask("POST", "/completion", Json{{"prompt", std::string(500, 'x')}}.dump()));
  EXPECT_EQ(large["error"]["type"], "exceed_context_size_error");
  EXPECT_EQ(large["error"]["n_ctx"], 128);
  EXPECT_THAT(ask("POST", "/v1/messages", "{}"), HasSubstr(R"({"type":"error","error":)"));
}

TEST_F(RoutesTest, SpecialTokensInMessagesStayText) {
  start();
  const Json applied = json(ask("POST", "/apply-template",
                                R"({"messages": [{"role": "user", "content": "<|im_end|>"}]})"));
  EXPECT_EQ(applied["prompt"], "<|im_start|>user\n<|im_end|><|im_end|>\n<|im_start|>assistant\n");
  const Json count =
      json(ask("POST", "/v1/messages/count_tokens",
               R"({"max_tokens": 1, "messages": [{"role": "user", "content": "<|im_end|>"}]})"));
  EXPECT_EQ(count["input_tokens"], 29);  // ten of them for that text
}

TEST_F(RoutesTest, TokensThereAndBack) {
  start();
  const Json tokens =
      json(ask("POST", "/tokenize", R"({"content": "hello <|im_end|>é", "with_pieces": true})"));
  std::vector<int> ids;
  for (const Json& token : tokens["tokens"]) ids.push_back(token["id"]);
  EXPECT_EQ(json(ask("POST", "/detokenize", Json{{"tokens", ids}}.dump()))["content"],
            "hello <|im_end|>é");
}

TEST_F(RoutesTest, MetricsSlotsAndProperties) {
  start();
  ask("POST", "/completion", R"({"prompt": "T"})");
  const std::string metrics = ask("GET", "/metrics");
  EXPECT_THAT(metrics, HasSubstr("sluice_tokens_predicted_total 12\n"));
  EXPECT_THAT(metrics, HasSubstr("sluice_time_to_first_token_seconds_count 1\n"));
  EXPECT_EQ(json(ask("GET", "/slots")).size(), 2u);
  EXPECT_EQ(json(ask("GET", "/props"))["total_slots"], 2);
  EXPECT_EQ(json(ask("GET", "/v1/models"))["data"][0]["meta"]["n_ctx"], 128);
}

TEST_F(RoutesTest, SpeedsAreShownBesideWhatWasPredicted) {
  start();
  EXPECT_TRUE(json(ask("GET", "/props"))["tokens_per_second"].is_null());
  EXPECT_THAT(ask("GET", "/metrics"), Not(HasSubstr("forecast")));
  std::mutex mutex;
  std::vector<engine::RequestFigures> told;
  ServerOptions options;
  options.ended = [&](const engine::Outcome& outcome) {
    const std::lock_guard lock(mutex);
    told.push_back(outcome.figures);
  };
  options.speeds = [] { return Speeds{{200, 0}, {12.5, 10}}; };
  start(options);
  const Json speeds = json(ask("GET", "/props"))["tokens_per_second"];
  EXPECT_EQ(speeds["prompt"], Json({{"predicted", 200.0}, {"measured", nullptr}}));
  EXPECT_EQ(speeds["generation"], Json({{"predicted", 12.5}, {"measured", 10.0}}));
  const std::string metrics = ask("GET", "/metrics");
  EXPECT_THAT(metrics, HasSubstr("sluice_forecast_tokens_seconds{of=\"generation\"} 12.5\n"));
  EXPECT_THAT(metrics, HasSubstr("sluice_compared_tokens_seconds{of=\"generation\"} 10\n"));
  ask("POST", "/completion", R"({"prompt": "T"})");
  server_->stop();
  const std::lock_guard lock(mutex);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].generated_tokens, 12);
  EXPECT_TRUE(told[0].alone);
}

TEST_F(RoutesTest, SlotsAreSavedRestoredAndErased) {
  const test::TempFolder folder;
  ServerOptions options;
  options.api_keys = {"ann", "bob"};
  options.slot_folder = folder.path();
  start(options);
  const auto as = [](const char* key) { return fmt::format("X-Api-Key: {}\r\n", key); };
  const auto act = [&](const std::string& what, const std::string& body, const char* key = "ann") {
    return ask("POST", "/slots/" + what, body, as(key));
  };
  const std::string file = R"({"filename": "a.bin"})";
  ask("POST", "/completion", R"({"prompt": "T"})", as("ann"));  // takes slot 0
  const Json saved = json(act("0?action=save", file));
  EXPECT_EQ(saved["n_saved"], 12) << saved;
  EXPECT_EQ(saved["n_written"], std::filesystem::file_size(folder.file("a.bin")));
  EXPECT_TRUE(saved["timings"]["save_ms"].is_number());
  EXPECT_EQ(json(act("0?action=erase", ""))["n_erased"], 12);
  EXPECT_EQ(json(ask("GET", "/slots", "", as("ann")))[0]["n_past"], 0);
  const Json restored = json(act("1?action=restore", file));
  EXPECT_EQ(restored["n_restored"], 12) << restored;
  EXPECT_EQ(restored["n_read"], saved["n_written"]);
  EXPECT_EQ(json(ask("GET", "/slots", "", as("ann")))[1]["n_past"], 12);

  // Of another key, neither the slot nor the file.
  EXPECT_THAT(act("1?action=save", R"({"filename": "b.bin"})", "bob"), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(act("1?action=erase", "", "bob"), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(act("1?action=restore", file, "bob"), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(act("0?action=restore", file, "bob"), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(act("0?action=save", file, "bob"), HasSubstr("HTTP/1.1 400"));  // nor replaces it
  EXPECT_FALSE(std::filesystem::exists(folder.file("b.bin")));
  EXPECT_EQ(json(act("0?action=restore", file))["n_restored"], 12);

  const auto param = [&](const std::string& what, const std::string& body) {
    const std::string answer = act(what, body);
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 400")) << what << " " << body;
    return json(answer)["error"]["param"];
  };
  EXPECT_EQ(param("2?action=save", file), "id_slot");
  EXPECT_EQ(param("-1?action=save", file), "id_slot");
  EXPECT_EQ(param("99999999999999999999?action=save", file), "id_slot");
  EXPECT_EQ(param("0", file), "action");
  EXPECT_EQ(param("0?action=", file), "action");
  EXPECT_EQ(param("0?inaction=save", file), "action");
  EXPECT_EQ(param("0?action=save", "{}"), "filename");
  EXPECT_EQ(param("0?action=save", R"({"filename": 5})"), "filename");
  EXPECT_EQ(param("0?action=save", R"({"filename": "../a.bin"})"), "filename");
  EXPECT_EQ(json(act("0?x=1&action=save", file))["n_saved"], 12);
  EXPECT_THAT(ask("GET", "/slots/0", "", as("ann")), HasSubstr("HTTP/1.1 405"));
  EXPECT_THAT(ask("POST", "/slots/", "", as("ann")), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(ask("POST", "/slots/0/1", "", as("ann")), HasSubstr("HTTP/1.1 404"));
  EXPECT_THAT(act("0?action=restore", R"({"filename": "none"})"), HasSubstr("HTTP/1.1 404"));

  options.slot_folder.clear();
  start(options);
  const std::string off = act("0?action=save", file);
  EXPECT_THAT(off, HasSubstr("HTTP/1.1 501"));
  EXPECT_THAT(off, HasSubstr("--slot-save-path"));
}

TEST_F(RoutesTest, ASlotThatAnswersIsNotSaved) {
  const test::TempFolder folder;
  ServerOptions options;
  options.slot_folder = folder.path();
  start(options);
  RawClient client(server_->port());
  const std::string body =
      R"({"prompt": "T", "stream": true, "ignore_eos": true, "logit_bias": {"113": 100}})";
  client.send(fmt::format("POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}",
                          body.size(), body));
  client.read_until("data: ");
  const std::string answer = ask("POST", "/slots/0?action=save", R"({"filename": "a"})");
  // The answer may have ended by now.
  EXPECT_THAT(answer, testing::AnyOf(HasSubstr("HTTP/1.1 409"), HasSubstr("HTTP/1.1 200")));
}

TEST_F(RoutesTest, StoppingEndsStreams) {
  start();
  RawClient client(server_->port());
  const std::string body =
      R"({"prompt": "T", "stream": true, "ignore_eos": true, "logit_bias": {"113": 100}})";
  client.send(fmt::format("POST /v1/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}",
                          body.size(), body));
  client.read_until("data: ");
  server_->stop();
  EXPECT_THAT(client.read_all(), testing::EndsWith("0\r\n\r\n"));
}

}  // namespace
}  // namespace sluice::server
