// SPDX-License-Identifier: Apache-2.0
// One HTTP request that generates: one or several answers by the scheduler, told as they come or
// at the end.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/service.h"

namespace sluice::server {

class Run : public std::enable_shared_from_this<Run> {
 public:
  Run(const Call& call, const Parameters& parameters);
  virtual ~Run() = default;

  // Hands the prompts over, each as often as answers are asked for; the client hears of errors.
  void start(std::vector<ChatPrompt> prompts);

  static std::string event(const Json& json) { return "data: " + dump(json) + "\n\n"; }
  static std::string event(const std::string& name, const Json& json) {
    return "event: " + name + "\n" + event(json);
  }

 protected:
  // All are called one after the other. Answer n: of prompt n / answers.
  virtual void begin() = 0;  // of a stream: its head has been written
  virtual void update(size_t n, const engine::Update& update) = 0;
  virtual void end(size_t n, const engine::Outcome& outcome) = 0;
  virtual void finish() = 0;  // after the last end()
  // In a stream that has begun; else the client gets its status.
  virtual std::string error_event(const ApiError& error) { return event(error_body(error)); }
  virtual bool anthropic() const { return false; }
  virtual std::string ping() const { return ": ping\n\n"; }

  const Service& service_;
  const std::shared_ptr<Exchange> exchange_;
  const Parameters parameters_;
  const std::string owner_;
  const std::time_t created_;
  std::vector<AnswerParser::Options> parsers_;                            // of each answer
  int64_t first_prompt_tokens_ = 0;                                       // of the first prompt
  int64_t prompt_tokens_ = 0, reused_tokens_ = 0, generated_tokens_ = 0;  // of all that ended

 private:
  engine::Listener listener(size_t n);
  template <typename F>
  void guarded(const F& f);
  void ended(size_t n, const engine::Outcome& outcome);
  void fail(const ApiError& error);

  std::mutex mutex_;
  std::vector<std::shared_ptr<engine::Ticket>> tickets_;
  size_t left_ = 0;    // answers that have not ended
  bool dead_ = false;  // the client has been told of an error
};

// Most events of a stream differ in one text only: what stands around it is written once.
class TextEvent {
 public:
  // `event` has the member "name": "" in it.
  TextEvent(std::string event, const std::string& name);
  std::string with(const std::string& text) const { return before_ + dump(text) + after_; }

 private:
  std::string before_, after_;
};

// llama-server's object of measurements, with ours behind its names.
Json timings(const engine::RequestFigures& figures);
// {id, token, bytes, logprob, top_logprobs}
Json logprob_entry(const engine::Engine& engine, const engine::TokenReport& report);
// "stop" or "length".
const char* finish_reason(engine::FinishReason reason);

}  // namespace sluice::server
