// SPDX-License-Identifier: Apache-2.0
// What requests say about the form of their answers, and what comes of it.
#include "server/answer_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../engine/tiny_model.h"
#include "raw_client.h"
#include "server/service.h"

namespace sluice::server {
namespace {

using engine::AnswerForm;
using Text = AnswerForm::Text;
using testing::HasSubstr;

struct Read {
  AnswerForm form;
  std::string error;  // path
};

Read read(Dialect dialect, const std::string& text, int tools = 0) {
  const Json body = Json::parse(text);
  Fields fields(body);
  Conversation conversation;
  for (int n = 0; n < tools; ++n) conversation.tools.push_back({fmt::format("f{}", n), {}, "t"});
  Read out{read_answer_form(fields, dialect, conversation), ""};
  if (const auto status = fields.status(); !status) {
    EXPECT_EQ(status.error().status, 400);
    out.error = status.error().param;
  }
  return out;
}

TEST(AnswerForm, FormatsOfEveryProtocol) {
  const struct {
    Dialect dialect;
    const char* body;
    Text text;
    const char* path;
  } cases[] = {
      {Dialect::kChat, R"({})", Text::kFree, ""},
      {Dialect::kChat, R"({"response_format": null, "grammar": "", "json_schema": null})",
       Text::kFree, ""},
      {Dialect::kChat, R"({"response_format": {"type": "text"}})", Text::kFree, ""},
      {Dialect::kChat, R"({"response_format": {"type": "json_object"}})", Text::kAnyObject,
       "response_format"},
      {Dialect::kChat, R"({"response_format": {"type": "json_object", "schema": {}}})",
       Text::kSchema, "response_format.schema"},
      {Dialect::kChat,
       R"({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}})",
       Text::kSchema, "response_format.json_schema.schema"},
      {Dialect::kChat, R"({"response_format": {"type": "json_schema", "schema": {}}})",
       Text::kSchema, "response_format.schema"},
      {Dialect::kResponses, R"({"text": {"format": {"type": "text"}}})", Text::kFree, ""},
      {Dialect::kResponses, R"({"text": {"verbosity": "low"}})", Text::kFree, ""},
      {Dialect::kResponses,
       R"({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}})", Text::kSchema,
       "text.format.schema"},
      {Dialect::kMessages, R"({"output_format": {"type": "json_schema", "schema": {}}})",
       Text::kSchema, "output_format.schema"},
      {Dialect::kMessages,
       R"({"output_config": {"format": {"type": "json_schema", "schema": {}}}})", Text::kSchema,
       "output_config.format.schema"},
      {Dialect::kNative, R"({"json_schema": {"type": "null"}})", Text::kSchema, "json_schema"},
      {Dialect::kCompletions, R"({"grammar": "root ::= \"a\""})", Text::kGrammar, "grammar"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.body);
    const Read got = read(c.dialect, c.body);
    EXPECT_EQ(got.error, "");
    EXPECT_EQ(got.form.text, c.text);
    EXPECT_EQ(got.form.path, c.path);
  }
}

TEST(AnswerForm, ChoicesOfTools) {
  const struct {
    Dialect dialect;
    const char* body;
    size_t tools;
    bool must, several;
  } cases[] = {
      {Dialect::kChat, R"({})", 3, false, true},
      {Dialect::kChat, R"({"tool_choice": "auto", "parallel_tool_calls": false})", 3, false, false},
      {Dialect::kChat, R"({"tool_choice": "required"})", 3, true, true},
      {Dialect::kChat, R"({"tool_choice": {"type": "function", "function": {"name": "f1"}}})", 1,
       true, false},
      {Dialect::kChat,
       R"({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required",
           "tools": [{"type": "function", "function": {"name": "f2"}},
                     {"type": "function", "function": {"name": "f0"}}]}}})",
       2, true, true},
      {Dialect::kResponses, R"({"tool_choice": {"type": "function", "name": "f1"}})", 1, true,
       false},
      {Dialect::kResponses,
       R"({"tool_choice": {"type": "allowed_tools", "mode": "auto",
           "tools": [{"type": "function", "name": "f2"}]}})",
       1, false, true},
      {Dialect::kMessages,
       R"({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}})", 3, false, false},
      {Dialect::kMessages, R"({"tool_choice": {"type": "any"}})", 3, true, true},
      {Dialect::kMessages, R"({"tool_choice": {"type": "tool", "name": "f0"}})", 1, true, false},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.body);
    const Read got = read(c.dialect, c.body, 3);
    EXPECT_EQ(got.error, "");
    EXPECT_EQ(got.form.tools.size(), c.tools);
    EXPECT_EQ(got.form.must_call, c.must);
    EXPECT_EQ(got.form.several_calls, c.several);
  }
}

TEST(AnswerForm, WhatIsWrongIsNamed) {
  const struct {
    const char* body;
    const char* path;
    int tools = 0;
  } cases[] = {
      {R"({"response_format": 5})", "response_format"},
      {R"({"response_format": {}})", "response_format.type"},
      {R"({"response_format": {"type": "xml"}})", "response_format.type"},
      {R"({"response_format": {"type": ["text"]}})", "response_format.type"},
      {R"({"response_format": {"type": "json_schema"}})", "response_format.schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": 5}})",
       "response_format.json_schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {}}})",
       "response_format.json_schema.schema"},
      {R"({"response_format": {"type": "json_schema", "json_schema": {"schema": []}}})",
       "response_format.json_schema.schema"},
      {R"({"json_schema": "{}"})", "json_schema"},
      {R"({"grammar": {}})", "grammar"},
      {R"({"grammar": "x", "json_schema": {}})", "grammar"},
      {R"({"response_format": {"type": "json_object"}, "json_schema": {}})", "json_schema"},
      {R"({"grammar": "x"})", "grammar", 1},
      {R"({"tool_choice": 5})", "tool_choice"},
      {R"({"tool_choice": "sometimes"})", "tool_choice"},
      {R"({"tool_choice": "required"})", "tool_choice"},
      {R"({"tool_choice": {"type": "function"}})", "tool_choice.name", 1},
      {R"({"tool_choice": {"type": "function", "function": {"name": "g"}}})",
       "tool_choice.function.name", 1},
      {R"({"tool_choice": {"type": "allowed_tools"}})", "tool_choice.tools", 1},
      {R"({"tool_choice": {"type": "allowed_tools", "tools": []}})", "tool_choice.tools", 1},
      {R"({"parallel_tool_calls": "no"})", "parallel_tool_calls"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.body);
    EXPECT_EQ(read(Dialect::kChat, c.body, c.tools).error, c.path);
  }
}

// The model writes what its script says, where it may.
class FormsTest : public testing::Test {
 protected:
  FormsTest() {
    ServerOptions options;
    options.http.port = 0;
    options.scheduler.slots = 2;
    auto server = Server::start(*engine_, options);
    if (!server) throw std::runtime_error(server.error().message);
    server_ = std::move(*server);
  }
  Json ask(const std::string& path, const Json& body) {
    const std::string text = dump(body);
    test::RawClient client(server_->port());
    client.send(
        fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                    "Content-Length: {}\r\n\r\n{}",
                    path, text.size(), text));
    const std::string answer = client.read_all();
    const size_t end = answer.find("\r\n\r\n");
    head_ = answer.substr(0, end + 2);
    return Json::parse(answer.substr(end + 4), nullptr, false);
  }
  int status() const { return std::stoi(head_.substr(9, 3)); }
  std::string header(const std::string& name) const {
    const size_t found = head_.find("\r\n" + name + ": ");
    if (found == std::string::npos) return "";
    const size_t begin = found + name.size() + 4;
    return head_.substr(begin, head_.find('\r', begin) - begin);
  }

  test::TinyEngine engine_{test::scripted_model("The quickly~")};
  std::unique_ptr<Server> server_;
  std::string head_;
};

TEST_F(FormsTest, AnswersFollowTheForm) {
  const Json schema = {{"enum", {"The quick", "A quick"}}};
  const Json user = Json::array({{{"role", "user"}, {"content", "T"}}});
  const std::string right = "\"The quick\"";
  Json answer =
      ask("/v1/chat/completions",
          {{"messages", user},
           {"temperature", 0},
           {"response_format",
            {{"type", "json_schema"}, {"json_schema", {{"name", "x"}, {"schema", schema}}}}}});
  const std::string chat = answer["choices"][0]["message"]["content"];
  EXPECT_TRUE(chat == right || chat == "\"A quick\"") << answer;
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(header("Sluice-Relaxed"), "");
  answer = ask("/v1/messages", {{"messages", user},
                                {"max_tokens", 40},
                                {"output_format", {{"type", "json_schema"}, {"schema", schema}}}});
  EXPECT_THAT(answer["content"][0]["text"].get<std::string>(), HasSubstr(" quick\"")) << answer;
  answer =
      ask("/v1/responses",
          {{"input", "T"},
           {"text", {{"format", {{"type", "json_schema"}, {"name", "x"}, {"schema", schema}}}}}});
  EXPECT_THAT(answer["output"][0]["content"][0]["text"].get<std::string>(), HasSubstr(" quick\""));
  answer = ask("/v1/completions", {{"prompt", Json::array({"T", "x"})},
                                   {"n", 2},
                                   {"grammar", "root ::= \"he q\" [a-z]{2} | \"!\""}});
  ASSERT_EQ(answer["choices"].size(), 4u) << answer;
  for (const Json& choice : answer["choices"]) {
    const std::string text = choice["text"];
    EXPECT_TRUE(text == "!" || (text.starts_with("he q") && text.size() == 6)) << text;
  }
  answer = ask("/completion", {{"prompt", "T"}, {"json_schema", {{"const", 7}}}, {"n_probs", 1}});
  EXPECT_EQ(answer["content"], "7") << answer;
  EXPECT_EQ(answer["stop_type"], "eos");
}

TEST_F(FormsTest, WhatIsNotHeldIsTold) {
  const Json schema = {{"type", "array"}, {"uniqueItems", true}, {"maxItems", 0}};
  for (const bool stream : {false, true}) {
    ask("/v1/completions", {{"prompt", "T"}, {"json_schema", schema}, {"stream", stream}});
    EXPECT_EQ(status(), 200);
    EXPECT_EQ(header("Sluice-Relaxed"), "json_schema: uniqueItems is not checked");
  }
  ask("/v1/completions", {{"prompt", "T"},
                          {"json_schema", {{"properties", {{"é\r\nX-Evil: 1", {{"not", true}}}}}}},
                          {"max_tokens", 1}});
  EXPECT_EQ(header("Sluice-Relaxed"), "json_schema/properties/????X-Evil: 1: not is not checked");
}

TEST_F(FormsTest, ErrorsOfGrammarsNameTheField) {
  const auto error = [&](const Json& body) {
    const Json answer = ask("/completion", body);
    EXPECT_EQ(status(), 400) << answer;
    return fmt::format("{}: {}", dump(answer["error"]["param"]), dump(answer["error"]["message"]));
  };
  EXPECT_THAT(error({{"prompt", "T"}, {"grammar", "root ::= x"}}),
              HasSubstr("\"grammar\": \"grammar: line 1, column 10"));
  EXPECT_THAT(error({{"prompt", "T"}, {"json_schema", {{"items", {{"type", 5}}}}}}),
              HasSubstr("\"json_schema\": \"JSON schema: /items/type must be"));
  // A bias takes away what the grammar needs: told before anything was
  // answered.
  EXPECT_THAT(error({{"prompt", "T"},
                     {"grammar", "root ::= \"a\""},
                     {"logit_bias", Json::array({Json::array({97, false})})}}),
              HasSubstr("against the grammar"));
}

TEST_F(FormsTest, BombsAreAnsweredAtOnce) {
  std::string defs = R"("a0": {"type": "integer"})";
  for (int i = 1; i < 50; ++i)
    defs += fmt::format(
        R"(, "a{0}": {{"allOf": [{{"$ref": "#/$defs/a{1}"}}, {{"$ref": "#/$defs/a{1}"}}]}})", i,
        i - 1);
  Json wide = Json::array();
  for (int i = 0; i < 100'000; ++i) wide.push_back(fmt::format("value {}", i));
  std::string groups = "root ::= ";
  for (int i = 0; i < 100'000; ++i) groups += '(';
  const Json bodies[] = {
      {{"json_schema", Json::parse(R"({"$ref": "#/$defs/a49", "$defs": {)" + defs + "}}")}},
      {{"json_schema", {{"enum", wide}}}},
      {{"json_schema", {{"type", "string"}, {"minLength", 1e9}, {"maxLength", 2e9}}}},
      {{"json_schema", {{"type", "string"}, {"pattern", "((a{1,9999}){1,9999}){1,9999}"}}}},
      {{"json_schema", {{"$ref", "#"}}}},
      {{"grammar", groups}},
      {{"grammar", "root ::= \"a\"{1,2147483646}"}},
      {{"grammar", "root ::= root \"a\" | \"b\""}},
      {{"grammar",
        "root ::= ((\"a\" | \"aa\"){1,400}){1,400} ((\"a\" | "
        "\"aa\"){1,400}){1,400}"}},
  };
  for (Json body : bodies) {
    body["prompt"] = "T";
    body["max_tokens"] = 20;
    const auto begin = std::chrono::steady_clock::now();
    ask("/completion", body);
    EXPECT_TRUE(status() == 200 || status() == 400) << head_;
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2))
        << dump(body).substr(0, 200);
    EXPECT_EQ(ask("/completion", {{"prompt", "T"}, {"temperature", 0}})["content"], "he quickly~");
  }
}

TEST(Constraints, WhatIsAskedForAgainIsKept) {
  test::TinyEngine engine(test::tiny_model());
  Constraints constraints(*engine);
  EXPECT_EQ(*constraints.compile({}, ""), nullptr);
  AnswerForm form;
  form.text = Text::kSchema;
  form.schema = {{"type", "string"}};
  const auto first = *constraints.compile(form, "a");
  EXPECT_EQ(*constraints.compile(form, "a"), first);
  EXPECT_NE(*constraints.compile(form, "b"), first);
  form.schema["maxLength"] = 5;
  EXPECT_NE(*constraints.compile(form, "a"), first);
  form.must_call = true;
  EXPECT_NE(*constraints.compile(form, "a"), first);

  // A text that is over leaves what it computed, and nothing of itself.
  const engine::Constraint* used = nullptr;
  size_t bytes = 0;
  {
    auto text = first->take();
    EXPECT_TRUE(text->accept('"'));
    std::vector<float> logits(static_cast<size_t>(engine->model().config().vocabulary), 1.0f);
    EXPECT_TRUE(text->apply(logits));
    const auto other = first->take();
    EXPECT_FALSE(other->accept('x'));
    EXPECT_TRUE(text->accept('x'));
    used = text.get();
    bytes = text->bytes();
  }
  EXPECT_NE(used, nullptr);
  auto again = first->take();
  auto fresh = first->take();
  EXPECT_EQ(std::max(again->bytes(), fresh->bytes()), bytes);
  EXPECT_FALSE(again->accept('x'));
  EXPECT_TRUE(again->accept('"') && again->accept('"') && again->done());

  // More than are kept: what was used last stays.
  for (int n = 0; n < 100; ++n) {
    form.schema["maxLength"] = 100 + n;
    EXPECT_TRUE(constraints.compile(form, "a"));
  }
  const auto last = *constraints.compile(form, "a");
  EXPECT_EQ(*constraints.compile(form, "a"), last);
}

}  // namespace
}  // namespace sluice::server
