// SPDX-License-Identifier: Apache-2.0
#include "server/service.h"

namespace sluice::server {

const std::vector<Route>& routes() {
  static const std::vector<Route> all = {
      {"GET", "/health", true, health},
      {"GET", "/v1/health", true, health},
      {"GET", "/v1/models", false, models},
      {"GET", "/models", false, models},
      {"POST", "/v1/chat/completions", false, chat_completions},
      {"POST", "/chat/completions", false, chat_completions},
      {"POST", "/v1/completions", false, completions},
      {"POST", "/completion", false, native_completion},
      {"POST", "/completions", false, native_completion},
      {"POST", "/tokenize", false, tokenize},
      {"POST", "/detokenize", false, detokenize},
      {"POST", "/apply-template", false, apply_template},
      {"GET", "/props", false, props},
      {"GET", "/slots", false, slots},
      {"POST", "/slots/{id}", false, slot_action},
      {"GET", "/metrics", false, metrics},
      {"GET", "/machine", false, machine},
      {"GET", "/machine/stream", false, machine_stream},
      {"GET", "/", true, page},  // holds nothing that a key protects
      {"GET", "/index.html", true, page},
      {"POST", "/v1/messages", false, messages},
      {"POST", "/v1/messages/count_tokens", false, count_message_tokens},
      {"POST", "/v1/responses", false, responses},
      {"POST", "/responses", false, responses},
  };
  return all;
}

bool leads_to(const Route& route, std::string_view path) {
  constexpr std::string_view kName = "{id}";
  if (!route.path.ends_with(kName)) return route.path == path;
  const std::string_view before =
      std::string_view(route.path).substr(0, route.path.size() - kName.size());
  return path.starts_with(before) && path.size() > before.size() &&
         path.find('/', before.size()) == std::string_view::npos;
}

}  // namespace sluice::server
