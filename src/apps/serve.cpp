// SPDX-License-Identifier: Apache-2.0
// sluice serve: the model behind HTTP.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "apps/build_info.h"
#include "apps/commands.h"
#include "apps/options.h"
#include "apps/served_learning.h"
#include "base/log.h"
#include "server/server.h"

namespace sluice::apps {
namespace {

struct ServeOptions {
  CommonOptions common;
  server::ServerOptions server;
  int64_t sessions = -1;
  engine::CheckpointOptions checkpoints;
  bool guess = true;
};

// One key a line; blanks around it, empty lines and comments are left out.
Status add_keys(const std::string& text, std::vector<std::string>& keys) {
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string key = text.substr(begin, end - begin);
    key.erase(0, std::min(key.find_first_not_of(" \t\r"), key.size()));
    key.erase(key.find_last_not_of(" \t\r") + 1);
    if (!key.empty() && key[0] != '#') keys.push_back(std::move(key));
    begin = end + 1;
  }
  if (keys.empty()) return fail(ErrorKind::kUsage, "holds no key: one a line is needed");
  return {};
}

auto set_text(std::string& field) {
  return [&field](const std::string& text) -> Status {
    field = text;
    return {};
  };
}

auto add_text(std::vector<std::string>& field) {
  return [&field](const std::string& text) -> Status {
    // A comma separates several.
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      if (end > begin) field.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return {};
  };
}

template <typename T>
auto set_integer(T& field, int64_t least, int64_t most) {
  return [&field, least, most](const std::string& text) -> Status {
    SLUICE_ASSIGN(const int64_t value, parse_integer(text, least, most));
    field = static_cast<T>(value);
    return {};
  };
}

auto set_switch(bool& field) {
  return [&field](const std::string& text) -> Status {
    field = text == "true";
    return {};
  };
}

std::vector<Flag> network_flags(ServeOptions& o) {
  server::HttpOptions& http = o.server.http;
  return {
      {"--host", {}, "HOST", "ADDRESS", "address to listen on (127.0.0.1)", set_text(http.host)},
      {"--port", {}, "PORT", "N", "0: any free one (8080)", set_integer(http.port, 0, 65535)},
      {"--api-key",
       {},
       "",
       "KEY",
       "who asks must show one of these; others can see it in the list of processes: better a "
       "file, or LLAMA_API_KEY",
       add_text(o.server.api_keys)},
      {"--api-key-file",
       {},
       "API_KEY_FILE",
       "FILE",
       "keys, one a line",
       [&o](const std::string& path) -> Status {
         SLUICE_ASSIGN(const std::string text, read_text_file(path));
         return add_keys(text, o.server.api_keys);
       }},
      {"--ssl-cert-file",
       {},
       "SSL_CERT_FILE",
       "FILE",
       "PEM certificate chain: TLS",
       set_text(http.cert_file)},
      {"--ssl-key-file", {}, "SSL_KEY_FILE", "FILE", "its PEM key", set_text(http.key_file)},
      {"--allowed-host",
       {},
       "ALLOWED_HOST",
       "NAME,...",
       "further names of this machine that clients without a key may use",
       add_text(o.server.hosts)},
      {"--cors-origin",
       {},
       "CORS_ORIGIN",
       "ORIGIN,...",
       "origins of web pages that may use the server, * for all (none)",
       add_text(o.server.origins)},
      {"--threads-http",
       {},
       "THREADS_HTTP",
       "N",
       "threads that read requests (4)",
       [&http](const std::string& text) -> Status {
         SLUICE_ASSIGN(const int64_t value, parse_integer(text, -1, 256));
         if (value > 0) http.threads = static_cast<size_t>(value);
         return {};
       }},
      {"--timeout",
       {"-to"},
       "TIMEOUT",
       "S",
       "that a client may take to read a piece (30)",
       [&http](const std::string& text) -> Status {
         SLUICE_ASSIGN(const int64_t value, parse_integer(text, 1, 86400));
         http.write_time = std::chrono::seconds(value);
         return {};
       }},
      {"--sse-ping-interval",
       {},
       "SSE_PING_INTERVAL",
       "S",
       "silence in a stream until a comment is sent (15)",
       [&http](const std::string& text) -> Status {
         SLUICE_ASSIGN(const double value, parse_number(text, 0.05, 86400));
         http.ping = std::chrono::milliseconds(static_cast<int64_t>(value * 1000));
         return {};
       }},
      {"--max-body",
       {},
       "MAX_BODY",
       "SIZE",
       "largest request (4M)",
       [&http](const std::string& text) -> Status {
         SLUICE_ASSIGN(http.body_bytes, parse_size(text));
         if (http.body_bytes < 1024 || http.body_bytes > uint64_t{1} << 30)
           return fail(ErrorKind::kUsage, "must be from 1K to 1G");
         return {};
       }},
      {"--max-connections",
       {},
       "MAX_CONNECTIONS",
       "N",
       "at the same time (1024)",
       set_integer(http.connections, 1, 65536)},
  };
}

std::vector<Flag> serve_flags(ServeOptions& o) {
  std::vector<Flag> flags = model_flags(o.common);
  engine::EngineOptions& e = o.common.engine;
  std::vector<Flag> more = {
      {"--parallel",
       {"-np"},
       "N_PARALLEL",
       "N",
       "requests at the same time; -1: as many as memory allows, up to 4",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(o.sessions, parse_integer(text, -1, 256));
         if (o.sessions == 0) return fail(ErrorKind::kUsage, "must be at least 1, or -1");
         return {};
       }},
      {"--queue",
       {},
       "QUEUE",
       "N",
       "most requests that wait for a slot (64)",
       set_integer(o.server.scheduler.waiting, 0, 65536)},
      {"--alias", {"-a"}, "ALIAS", "NAME", "what clients call the model", set_text(o.server.alias)},
      {"--n-predict",
       {"-n", "--predict"},
       "N_PREDICT",
       "N",
       "most tokens of an answer that sets no limit; -1: no limit",
       set_integer(o.server.most_tokens, -1, INT32_MAX)},
      {"--metrics",
       {},
       "ENDPOINT_METRICS",
       "",
       "/metrics for Prometheus (on)",
       set_switch(o.server.metrics)},
      {"--slots", {}, "ENDPOINT_SLOTS", "", "/slots (on)", set_switch(o.server.slots)},
      {"--slot-save-path",
       {},
       "SLOT_SAVE_PATH",
       "DIR",
       "folder where POST /slots/{id}?action=save keeps what slots hold (none)",
       [&o](const std::string& path) -> Status {
         std::error_code error;
         if (!std::filesystem::is_directory(path, error) ||
             access(path.c_str(), R_OK | W_OK | X_OK))
           return fail(ErrorKind::kUsage,
                       "{} must be a folder that can be written to: make it first", path);
         o.server.slot_folder = path;
         return {};
       }},
      {"--ui", {"--webui"}, "UI", "", "the web page at / (on)", set_switch(o.server.page)},
      {"--cache-ram",
       {"-cram"},
       "CACHE_RAM",
       "MIB",
       "models with recurrent layers: most memory for points to come back to; -1: no limit (1024)",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(const int64_t mebibytes, parse_integer(text, -1, INT32_MAX));
         o.checkpoints.bytes = mebibytes < 0 ? std::numeric_limits<uint64_t>::max()
                                             : static_cast<uint64_t>(mebibytes) << 20;
         return {};
       }},
      {"--ctx-checkpoints",
       {"-ctxcp", "--swa-checkpoints"},
       "CTX_CHECKPOINTS",
       "N",
       "most of them in each slot (32)",
       set_integer(o.checkpoints.count, 0, INT32_MAX)},
      {"--checkpoint-min-step",
       {"-cms", "--checkpoint-every-n-tokens", "-cpent"},
       "CHECKPOINT_MIN_SPACING_NT",
       "N",
       "tokens between them within a text (512)",
       set_integer(o.checkpoints.step, -1, INT32_MAX)},
      {"--spec-type",
       {},
       "SPEC_TYPE",
       "none|draft-mtp",
       "guess tokens ahead while one request is alone; default: with the model's own block where "
       "the file has one",
       [&o](const std::string& text) -> Status {
         if (text != "none" && text != "draft-mtp" && text != "mtp")
           return fail(ErrorKind::kUsage, "must be none or draft-mtp");
         o.guess = text != "none";
         return {};
       }},
      {"--spec-draft-n-max",
       {},
       "SPEC_DRAFT_N_MAX",
       "N",
       "most tokens to guess at once, fewer where that is faster; 0: none (3)",
       set_integer(o.server.scheduler.guesses, 0, model::Sequence::kMostAhead - 1)},
      {"--reasoning-format",
       {},
       "THINK",
       "none|auto|deepseek",
       "none: what the model thinks stays part of its answer",
       [&o](const std::string& text) -> Status {
         if (text != "none" && text != "auto" && text != "deepseek")
           return fail(ErrorKind::kUsage, "must be none, auto or deepseek");
         o.server.split_thoughts = text != "none";
         return {};
       }},
      {"--jinja",
       {},
       "",
       "",
       "templates are always Jinja",
       [](const std::string&) -> Status { return {}; }},
      {"--chat-template",
       {},
       "CHAT_TEMPLATE",
       "JINJA",
       "template instead of the file's",
       [&e](const std::string& text) -> Status {
         e.chat_template = text;
         return {};
       }},
      {"--chat-template-file",
       {},
       "CHAT_TEMPLATE_FILE",
       "FILE",
       "the same from a file",
       [&e](const std::string& path) -> Status {
         SLUICE_ASSIGN(e.chat_template, read_text_file(path));
         return {};
       }},
      {"--chat-template-kwargs",
       {},
       "CHAT_TEMPLATE_KWARGS",
       "JSON",
       "variables for it where a request sets none, e.g. {\"enable_thinking\": false}",
       [&o](const std::string& text) -> Status {
         o.server.template_kwargs = nlohmann::ordered_json::parse(text, nullptr, false);
         if (!o.server.template_kwargs.is_object())
           return fail(ErrorKind::kUsage, "must be a JSON object");
         return {};
       }},
  };
  for (std::vector<Flag> group : {network_flags(o), std::move(more), sampling_flags(o.common)})
    flags.insert(flags.end(), group.begin(), group.end());
  return flags;
}

bool is_loopback(const std::string& host) {
  return host.starts_with("127.") || host == "localhost" || host == "::1";
}

// A byte in this pipe: a signal to end has come.
std::array<int, 2> signals{-1, -1};

Status catch_signals() {
  if (pipe(signals.data()) != 0)
    return fail(ErrorKind::kIo, "no pipe for signals: the system is out of descriptors");
  struct sigaction action = {};
  action.sa_handler = [](int) {
    static std::atomic<bool> again{false};
    if (again.exchange(true)) _exit(130);
    const char byte = 0;
    [[maybe_unused]] const auto written = write(signals[1], &byte, 1);
  };
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return {};
}

void wait_for_signal() {
  char byte = 0;
  while (read(signals[0], &byte, 1) < 0 && errno == EINTR) {
  }
}

// Every connection is a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Status serve_command(const Arguments& arguments) {
  ServeOptions options;
  for (const char* name : {"SLUICE_API_KEY", "LLAMA_API_KEY"})
    if (const char* keys = std::getenv(name); keys && *keys) {
      SLUICE_TRY(add_text(options.server.api_keys)(keys));
      break;
    }
  SLUICE_ASSIGN(const bool go,
                parse_flags("serve", "Answers HTTP requests in OpenAI's and Anthropic's protocols.",
                            serve_flags(options), arguments));
  if (!go) return {};
  init_logging(options.common.verbosity);
  SLUICE_TRY(find_model(options.common));
  server::HttpOptions& http = options.server.http;
  if (http.cert_file.empty() != http.key_file.empty())
    return fail(ErrorKind::kUsage, "TLS needs both --ssl-cert-file and --ssl-key-file");

  if (!options.guess) options.server.scheduler.guesses = 0;
  options.common.engine.drafts = options.server.scheduler.guesses > 0;
  options.common.engine.checkpoints = options.checkpoints;
  options.common.engine.sessions = options.sessions < 0 ? 0 : static_cast<int>(options.sessions);
  SLUICE_ASSIGN(const std::unique_ptr<engine::Engine> engine,
                engine::Engine::load(options.common.engine));
  options.server.scheduler.slots = engine->plan().sessions;
  options.server.scheduler.checkpoints = options.checkpoints;
  options.server.sampling = options.common.apply_sampling(engine->default_sampling());
  const BuildInfo build = build_info();
  options.server.build = fmt::format("b{}-{}", build.number, build.commit);
  const std::unique_ptr<ServedLearning> learning = ServedLearning::of(*engine);
  if (learning) {
    const server::Speeds speeds = learning->speeds();
    spdlog::info("predicted: prompts of 512 tokens at {}, answers at {} tokens/s",
                 fmt::format("{:.1f}", speeds.prompt.predicted),
                 fmt::format("{:.1f}", speeds.generation.predicted));
    options.server.ended = [raw = learning.get()](const auto& outcome) { raw->ended(outcome); };
    options.server.speeds = [raw = learning.get()] { return raw->speeds(); };
  }
  raise_descriptor_limit();
  SLUICE_TRY(catch_signals());
  SLUICE_ASSIGN(const std::unique_ptr<server::Server> server,
                server::Server::start(*engine, options.server));
  if (!is_loopback(http.host) && options.server.api_keys.empty())
    spdlog::warn("whoever reaches {} can use this server: set keys with --api-key-file", http.host);
  const std::string host =
      http.host.find(':') == std::string::npos ? http.host : "[" + http.host + "]";
  SLUICE_TRY(print_out(fmt::format("listening on {}://{}:{}, {} slots of {} tokens\n",
                                   http.cert_file.empty() ? "http" : "https", host, server->port(),
                                   options.server.scheduler.slots, engine->context())));
  wait_for_signal();
  server->stop();
  if (learning) learning->finish();
  remember_usage(*engine);
  return {};
}

}  // namespace sluice::apps
