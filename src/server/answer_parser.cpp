// SPDX-License-Identifier: Apache-2.0
#include "server/answer_parser.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sluice::server {
namespace {

constexpr std::string_view kThink = "<think>", kThinkEnd = "</think>";
constexpr std::string_view kCallBegin = "<tool_call>", kCallEnd = "</tool_call>";
constexpr std::string_view kBlank = " \t\r\n";
constexpr size_t kLongestName = 256;

// Bytes at the end of `text` that may be the beginning of `mark`.
size_t partial(std::string_view text, std::string_view mark) {
  for (size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n)
    if (text.substr(text.size() - n) == mark.substr(0, n)) return n;
  return 0;
}

size_t without_blanks(std::string_view text) {
  const size_t last = text.find_last_not_of(kBlank);
  return last == std::string_view::npos ? 0 : last + 1;
}

}  // namespace

AnswerParser::AnswerParser(const Options& options) : options_(options) {
  if (options_.thoughts && options_.in_thought) {
    state_ = State::kThought;
    trim_ = true;
  } else if (!options_.thoughts) {
    state_ = State::kText;
  }
}

void AnswerParser::emit(Piece::Kind kind, std::string_view text, std::vector<Piece>& out) {
  if (text.empty()) return;
  if (!out.empty() && out.back().kind == kind)
    out.back().text += text;
  else
    out.push_back({kind, std::string(text)});
}

void AnswerParser::push(std::string_view text, std::vector<Piece>& out) {
  held_ += text;
  run(false, out);
}

void AnswerParser::finish(std::vector<Piece>& out) {
  run(true, out);
}

void AnswerParser::run(bool over, std::vector<Piece>& out) {
  for (bool more = true; more;) {
    if (trim_ && state_ != State::kCall) {
      held_.erase(0, std::min(held_.find_first_not_of(kBlank), held_.size()));
      if (!held_.empty()) trim_ = false;
    }
    switch (state_) {
      case State::kStart:
        more = start(over);
        break;
      case State::kThought:
        more = thought(over, out);
        break;
      case State::kText:
        more = text(over, out);
        break;
      case State::kCall:
        more = call(over, out);
        break;
      case State::kAfterCall:
        more = after_call(over);
        break;
    }
  }
}

bool AnswerParser::start(bool over) {
  const size_t begin = held_.find_first_not_of(kBlank);
  const auto rest =
      begin == std::string::npos ? std::string_view() : std::string_view(held_).substr(begin);
  if (rest.starts_with(kThink)) {
    held_.erase(0, begin + kThink.size());
    state_ = State::kThought;
    trim_ = true;
    return true;
  }
  if (!over && kThink.starts_with(rest)) return false;
  state_ = State::kText;
  return true;
}

bool AnswerParser::thought(bool over, std::vector<Piece>& out) {
  const std::string_view held = held_;
  const size_t end = held.find(kThinkEnd);
  if (end != std::string_view::npos) {
    emit(Piece::Kind::kThought, held.substr(0, without_blanks(held.substr(0, end))), out);
    held_.erase(0, end + kThinkEnd.size());
    state_ = State::kText;
    trim_ = true;
    return true;
  }
  const size_t certain =
      over ? held.size() : without_blanks(held.substr(0, held.size() - partial(held, kThinkEnd)));
  emit(Piece::Kind::kThought, held.substr(0, certain), out);
  held_.erase(0, certain);
  return false;
}

bool AnswerParser::text(bool over, std::vector<Piece>& out) {
  const std::string_view held = held_;
  const size_t begin = options_.calls ? held.find(kCallBegin) : std::string_view::npos;
  if (begin != std::string_view::npos) {
    emit(Piece::Kind::kText, held.substr(0, without_blanks(held.substr(0, begin))), out);
    call_ = {};
    call_.raw = held.substr(begin);
    call_.at = kCallBegin.size();
    held_.clear();
    state_ = State::kCall;
    return true;
  }
  size_t certain = held.size();
  if (options_.calls && !over)
    certain = without_blanks(held.substr(0, held.size() - partial(held, kCallBegin)));
  emit(Piece::Kind::kText, held.substr(0, certain), out);
  held_.erase(0, certain);
  return false;
}

// Scans what is new of the call and passes on what is certain of its arguments.
void AnswerParser::read_call(std::vector<Piece>& out) {
  Call& c = call_;
  for (; c.at < c.raw.size() && !c.complete && !c.broken; ++c.at) {
    const char byte = c.raw[c.at];
    if (c.in_string) {
      if (c.escaped) {
        c.escaped = false;
      } else if (byte == '\\') {
        c.escaped = true;
      } else if (byte == '"') {
        c.in_string = false;
        if (c.depth != 1) continue;
        const auto text = nlohmann::json::parse(
            c.raw.substr(c.string_begin, c.at + 1 - c.string_begin), nullptr, false);
        if (!text.is_string()) {
          c.broken = true;
        } else if (c.key_next) {
          c.key = text.get<std::string>();
        } else if (c.key == "name") {
          c.name = text.get<std::string>();
          c.broken = c.name.empty() || c.name.size() > kLongestName;
        } else if (c.key == "arguments") {
          c.text = text.get<std::string>();
        }
      }
      continue;
    }
    if (kBlank.find(byte) != std::string_view::npos) continue;
    if (c.depth == 0 && byte != '{') {
      c.broken = true;
    } else if (byte == '"') {
      c.in_string = true;
      c.string_begin = c.at;
    } else if (byte == '{' || byte == '[') {
      if (c.depth == 1 && !c.key_next && c.key == "arguments" && byte == '{' && c.value_begin == 0)
        c.value_begin = c.told = c.at;
      ++c.depth;
    } else if (byte == '}' || byte == ']') {
      --c.depth;
      if (c.depth == 1 && c.value_begin > 0 && c.value_end == 0) c.value_end = c.at + 1;
      c.complete = c.depth == 0;
    } else if (c.depth == 1 && byte == ':') {
      c.key_next = false;
    } else if (c.depth == 1 && byte == ',') {
      c.key_next = true;
    }
  }
  if (c.broken) return;
  if (c.complete && c.value_begin == 0) c.broken = c.name.empty();  // a call without arguments
  if (c.name.empty() || (c.value_begin == 0 && !c.complete)) {
    c.broken |= c.complete;
    return;
  }
  if (c.broken) return;
  if (!c.begun) out.push_back({Piece::Kind::kCall, c.name});
  c.begun = true;
  if (c.value_begin == 0) {
    emit(Piece::Kind::kArguments, c.text.empty() ? std::string_view("{}") : c.text, out);
  } else {
    const size_t end = c.value_end > 0 ? c.value_end : c.at;
    if (end > c.told) emit(Piece::Kind::kArguments, c.raw.substr(c.told, end - c.told), out);
    c.told = std::max(c.told, end);
  }
  if (c.complete) out.push_back({Piece::Kind::kCallEnd, ""});
}

bool AnswerParser::call(bool over, std::vector<Piece>& out) {
  Call& c = call_;
  c.raw += std::exchange(held_, {});
  read_call(out);
  if (c.complete && !c.broken) {
    held_ = c.raw.substr(c.at);
    state_ = State::kAfterCall;
    trim_ = true;
    return true;
  }
  if (c.broken && !c.begun) {  // no call: its mark is text, what follows may hold one
    emit(Piece::Kind::kText, kCallBegin, out);
    held_ = c.raw.substr(kCallBegin.size());
    state_ = State::kText;
    return true;
  }
  if (!over && !c.broken) return false;
  if (c.begun)
    out.push_back({Piece::Kind::kCallEnd, ""});
  else
    emit(Piece::Kind::kText, c.raw, out);
  state_ = State::kText;
  return false;
}

bool AnswerParser::after_call(bool over) {
  const std::string_view held = held_;
  if (held.starts_with(kCallEnd)) {
    held_.erase(0, kCallEnd.size());
  } else if (!over && kCallEnd.starts_with(held)) {
    return false;
  }
  state_ = State::kText;
  trim_ = true;
  return true;
}

}  // namespace sluice::server
