// SPDX-License-Identifier: Apache-2.0
// The HTTP interface of a loaded model: OpenAI's and Anthropic's protocols, and llama-server's own
// routes.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/scheduler.h"
#include "server/http.h"

namespace sluice::server {

// Tokens per second; 0: not known.
struct Speed {
  double predicted = 0;
  double measured = 0;
};
// What a plan says of this machine, and what requests showed.
struct Speeds {
  Speed prompt, generation;
};

struct ServerOptions {
  HttpOptions http;
  engine::SchedulerOptions scheduler;
  engine::SamplingParams sampling;         // what requests do not set
  int64_t most_tokens = -1;                // of an answer that sets no limit
  std::string alias;                       // name of the model; empty: its file's
  std::vector<std::string> api_keys;       // empty: nobody needs one
  std::vector<std::string> hosts;          // further names that clients may call this machine
  std::vector<std::string> origins;        // of web pages that may call it; "*": all
  nlohmann::ordered_json template_kwargs;  // template variables that requests do not set
  bool split_thoughts = true;              // tell thoughts from answers, unless a request says not
  bool metrics = true;
  bool slots = true;
  bool page = true;
  std::string slot_folder;  // where slots are saved; empty: nowhere
  std::string build;        // "b1-abcdef", for system_fingerprint
  // Told of every request that ended, by the scheduler's thread: hand over, do not compute.
  std::function<void(const engine::Outcome&)> ended;
  std::function<Speeds()> speeds;  // from any thread; none: nothing is predicted
};

class Server {
 public:
  // Listens. `engine` must outlive it.
  static Result<std::unique_ptr<Server>> start(engine::Engine& engine,
                                               const ServerOptions& options);
  // As stop().
  ~Server();

  uint16_t port() const;
  // Ends all requests; streams are told so.
  void stop();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::server
