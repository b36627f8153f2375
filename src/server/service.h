// SPDX-License-Identifier: Apache-2.0
// What the routes share.
#pragma once

#include <atomic>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/conversation.h"
#include "server/machine.h"
#include "server/metrics.h"
#include "server/parameters.h"
#include "server/server.h"

namespace sluice::server {

struct Service {
  engine::Engine& engine;
  engine::Scheduler& scheduler;
  const ServerOptions& options;
  Metrics& metrics;
  Machine& machine;
  std::string model;  // its name
  Limits limits;
  std::vector<text::Token> shown;
  bool with_turns = false;  // checkpoints make them worth finding
  std::time_t created = 0;
  mutable Constraints constraints = Constraints(engine);
  mutable std::mutex slot_action;  // one at a time
};

struct Call {
  const Service& service;
  const HttpRequest& request;
  const std::shared_ptr<Exchange>& exchange;
  std::string owner;  // the API key, empty without
};

struct Route {
  std::string method;
  std::string path;  // "{id}" at its end: any name
  bool open;         // needs no key
  void (*handle)(const Call& call);
};

// All of them; the first of each handler's paths is the one to document.
const std::vector<Route>& routes();
bool leads_to(const Route& route, std::string_view path);

// Routes by file; each answers whatever comes.
void health(const Call& call);
void models(const Call& call);
void props(const Call& call);
void slots(const Call& call);
void slot_action(const Call& call);
void metrics(const Call& call);
void machine(const Call& call);
void machine_stream(const Call& call);
void page(const Call& call);
void tokenize(const Call& call);
void detokenize(const Call& call);
void apply_template(const Call& call);
void chat_completions(const Call& call);
void completions(const Call& call);
void native_completion(const Call& call);
void messages(const Call& call);
void count_message_tokens(const Call& call);
void responses(const Call& call);

}  // namespace sluice::server
