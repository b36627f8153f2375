// SPDX-License-Identifier: Apache-2.0
// Takes an answer apart as it comes: what the model thinks (<think>...</think>), what it says, and
// the tools it calls in Qwen's format: <tool_call>{"name": ..., "arguments": {...}}</tool_call>.
// Arguments are passed on while they are written. What only looked like a call becomes text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::server {

struct Piece {
  enum class Kind { kThought, kText, kCall, kArguments, kCallEnd };
  Kind kind;
  std::string text;  // kCall: the tool's name
};

// The result does not depend on how the text is cut.
class AnswerParser {
 public:
  struct Options {
    bool thoughts = true;     // tell thoughts from text
    bool in_thought = false;  // the prompt has opened one already
    bool calls = false;       // tools were offered
  };

  explicit AnswerParser(const Options& options);

  void push(std::string_view text, std::vector<Piece>& out);
  // The text is over.
  void finish(std::vector<Piece>& out);

 private:
  enum class State { kStart, kThought, kText, kCall, kAfterCall };

  // Each returns whether there is more to do with what is held.
  bool start(bool over);
  bool thought(bool over, std::vector<Piece>& out);
  bool text(bool over, std::vector<Piece>& out);
  bool call(bool over, std::vector<Piece>& out);
  bool after_call(bool over);
  void read_call(std::vector<Piece>& out);
  void run(bool over, std::vector<Piece>& out);
  void emit(Piece::Kind kind, std::string_view text, std::vector<Piece>& out);

  Options options_;
  State state_ = State::kStart;
  bool trim_ = false;  // blanks that come next are between two parts
  std::string held_;

  // A call that is being read: a scanner over its JSON.
  struct Call {
    std::string raw;  // all of it so far
    size_t at = 0;    // bytes of raw that have been scanned
    int depth = 0;
    bool in_string = false, escaped = false;
    bool key_next = true;  // at depth 1: a name comes, not a value
    size_t string_begin = 0;
    std::string key;         // at depth 1: of the value that comes
    size_t value_begin = 0;  // of the arguments; 0: not seen yet
    size_t value_end = 0;    // 0: they go on
    size_t told = 0;         // bytes of raw that were passed on
    std::string name;
    std::string text;    // arguments that came as a string
    bool begun = false;  // kCall was told
    bool complete = false, broken = false;
  } call_;
};

}  // namespace sluice::server
