// SPDX-License-Identifier: Apache-2.0
// From the messages of a request to a prompt.
#pragma once

#include <string>
#include <vector>

#include "engine/chat.h"
#include "server/answer_parser.h"
#include "server/fields.h"

namespace sluice::server {

struct Conversation {
  Json messages = Json::array();  // as the chat template takes them
  engine::ChatOptions options;    // tools and template variables
  bool split_thoughts = true;     // reasoning_format
};

struct ChatPrompt {
  std::vector<text::Token> tokens;
  std::vector<int64_t> turns;
  AnswerParser::Options parser;
};

// OpenAI's messages, tools, tool_choice, chat_template_kwargs, reasoning_effort, reasoning_format.
void read_conversation(Fields& fields, Conversation& conversation);
// tools: [{type: "function", function: {name, ...}}].
void read_tools(Fields& fields, Conversation& conversation);
// Template variables, without those that the engine sets.
void read_template_kwargs(Fields& fields, Conversation& conversation);
// A message's content: a string, or an array of text parts, which are joined.
ApiResult<std::string> read_content(const Json& content, const std::string& path);

ApiResult<ChatPrompt> render(const engine::Engine& engine, const Conversation& conversation,
                             bool with_turns);
// Control tokens that are to be part of an answer's text: the marks that AnswerParser looks for.
std::vector<text::Token> shown_tokens(const engine::Engine& engine);

}  // namespace sluice::server
