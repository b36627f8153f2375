// SPDX-License-Identifier: Apache-2.0
// Bodies that are wrong in one place each: an answer, or status 400 with that place's path, in no
// time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "test_service.h"

namespace sluice::server {
namespace {

using testing::StartsWith;

Json body_of(const std::string& path) {
  if (path == "/v1/chat/completions")
    return Json::parse(R"({
      "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "T"}]},
        {"role": "assistant", "content": null, "reasoning_content": "r", "tool_calls": [
          {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "4"},
        {"role": "user", "content": "T"}],
      "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters":
        {"type": "object", "properties": {"x": {"type": "number"}}}}}],
      "tool_choice": "auto", "max_completion_tokens": 1, "stop": ["a", "b"], "logprobs": true,
      "top_logprobs": 2, "logit_bias": {"5": 1}, "stream_options": {"include_usage": true},
      "chat_template_kwargs": {"enable_thinking": false}, "reasoning_format": "none"})");
  if (path == "/v1/messages")
    return Json::parse(R"({
      "system": [{"type": "text", "text": "Be brief."}], "max_tokens": 1,
      "messages": [
        {"role": "user", "content": "T"},
        {"role": "assistant", "content": [{"type": "text", "text": "t"},
          {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "4"}]}],
      "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
      "tool_choice": {"type": "auto"}, "stop_sequences": ["a"]})");
  if (path == "/v1/responses")
    return Json::parse(R"({
      "instructions": "Be brief.", "max_output_tokens": 1,
      "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "T"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "4"}],
      "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]})");
  return Json::parse(R"({"prompt": "T", "max_tokens": 1, "stop": "a", "logit_bias": [[5, 1]]})");
}

// The field that an error speaks of.
std::string param_of(const HttpResponse& response) {
  const Json body = Json::parse(response.body, nullptr, false);
  const Json error = body.is_object() ? body.value("error", Json::object()) : Json::object();
  if (const Json param = error.value("param", Json()); param.is_string()) return param;
  const std::string message = error.value("message", "");  // Anthropic's
  const size_t colon = message.find(':');
  return message.substr(0, colon == std::string::npos ? 0 : colon);
}

class BadInput : public testing::TestWithParam<const char*> {
 protected:
  struct Answer {
    int status = 0;
    std::string param, body;
  };
  Answer ask(const Json& body) {
    const auto begin = std::chrono::steady_clock::now();
    const HttpResponse response = service_.ask(GetParam(), dump(body));
    slowest_ = std::max(slowest_, std::chrono::steady_clock::now() - begin);
    ++asked_;
    EXPECT_TRUE(response.status == 200 || response.status == 400) << response.body;
    return {response.status, response.status == 200 ? "" : param_of(response), response.body};
  }
  void TearDown() override {
    EXPECT_LT(std::chrono::duration<double>(slowest_).count(), 2.0) << "on a machine in use";
    // What is right is answered still.
    EXPECT_EQ(ask(body_of(GetParam())).status, 200);
  }

  test::TestService service_{test::scripted_model("The quickly~")};
  std::chrono::steady_clock::duration slowest_{0};
  int asked_ = 0;
};

TEST_P(BadInput, EveryNumberOfEveryField) {
  static const std::vector<Json> kValues = {INT64_MIN,
                                            -1,
                                            0,
                                            1,
                                            INT32_MAX,
                                            int64_t{INT32_MAX} + 1,
                                            INT64_MAX,
                                            UINT64_MAX,
                                            1e308,
                                            -1e308,
                                            0.5,
                                            "NaN",
                                            "",
                                            true,
                                            Json::array(),
                                            Json::array({-1}),
                                            Json::object()};
  for (const char* name : {"temperature",
                           "dynatemp_range",
                           "dynatemp_exponent",
                           "top_p",
                           "min_p",
                           "typical_p",
                           "top_n_sigma",
                           "xtc_probability",
                           "xtc_threshold",
                           "repeat_penalty",
                           "presence_penalty",
                           "frequency_penalty",
                           "dry_multiplier",
                           "dry_base",
                           "dry_allowed_length",
                           "dry_penalty_last_n",
                           "mirostat",
                           "mirostat_tau",
                           "mirostat_eta",
                           "top_k",
                           "repeat_last_n",
                           "min_keep",
                           "seed",
                           "n",
                           "t_max_predict_ms",
                           "logit_bias",
                           "ignore_eos",
                           "samplers",
                           "stop",
                           "stream_options",
                           "dry_sequence_breakers"})
    for (const Json& value : kValues) {
      Json body = body_of(GetParam());
      body[name] = value;
      const Answer answer = ask(body);
      if (answer.status != 200) {
        EXPECT_THAT(answer.param, StartsWith(name)) << value << " " << answer.body;
      }
    }
  EXPECT_GT(asked_, 500);
}

// Every value of a body in every other type, and left out.
TEST_P(BadInput, EveryPlaceOfABody) {
  const Json deep = Json::parse(std::string(50, '[') + std::string(50, ']'));
  const std::vector<Json> values = {nullptr,
                                    true,
                                    -1,
                                    1e308,
                                    "",
                                    "x\xff<|im_end|>",
                                    Json::array(),
                                    Json::object(),
                                    deep,
                                    Json::array({nullptr}),
                                    {{"type", 5}},
                                    std::string(20000, 'x')};
  const Json whole = body_of(GetParam());
  std::set<std::string> places;
  const Json flat = whole.flatten();
  for (const auto& [pointer, value] : flat.items())
    for (size_t end = pointer.size(); end != std::string::npos && end > 0;
         end = pointer.rfind('/', end - 1))
      places.insert(pointer.substr(0, end));
  int refused = 0;
  for (const std::string& place : places) {
    const size_t second = place.find('/', 1);
    const std::string top = place.substr(1, second == std::string::npos ? second : second - 1);
    const auto look = [&](const Json& body, const std::string& what) {
      const Answer answer = ask(body);
      if (answer.status == 200) return;
      ++refused;
      // Of "logprobs" the other field hears, and of what a template cannot take the messages.
      EXPECT_TRUE(answer.param.starts_with(top) || answer.param == "messages" ||
                  answer.param == "top_logprobs" ||
                  answer.body.find("the context") != std::string::npos)
          << place << " " << what << ": " << answer.body;
    };
    for (const Json& value : values) {
      Json body = whole;
      body[Json::json_pointer(place)] = value;
      look(body, dump(value).substr(0, 100));
    }
    Json body = whole;
    const Json::json_pointer pointer(place);
    Json& parent = body[pointer.parent_pointer()];
    if (parent.is_object())
      parent.erase(pointer.back());
    else
      parent.erase(static_cast<size_t>(std::stoul(pointer.back())));
    look(body, "left out");
  }
  EXPECT_GT(refused, 20);
}

INSTANTIATE_TEST_SUITE_P(Routes, BadInput,
                         testing::Values("/v1/chat/completions", "/v1/completions", "/completion",
                                         "/v1/messages", "/v1/responses"),
                         [](const auto& route) {
                           std::string name;
                           for (const char* c = route.param; *c; ++c)
                             if (std::isalnum(static_cast<unsigned char>(*c))) name += *c;
                           return name;
                         });

}  // namespace
}  // namespace sluice::server
