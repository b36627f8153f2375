// SPDX-License-Identifier: Apache-2.0
// What the server costs and what batching gives, on one model in one run:
//   server_bench MODEL.gguf [tokens of an answer, 128] [rounds, 7]
// prints tokens per second of one request and of four at once, by the scheduler alone and as
// streams over HTTP, alternating; medians and ratios. Then the time to the first token of a long
// prompt that is cold, and of one of which all but the end is held.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <future>
#include <thread>

#include "../tests/unit/server/raw_client.h"
#include "measure.h"
#include "server/server.h"

namespace sluice::bench {
namespace {

constexpr int kSlots = 4;

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(engine::Engine& engine, int64_t tokens) : engine_(engine), tokens_(tokens) {}

  Status start() {
    engine::SchedulerOptions options;
    options.slots = kSlots;
    SLUICE_ASSIGN(scheduler_, engine::Scheduler::create(engine_, options));
    server::ServerOptions server;
    server.http.port = 0;
    server.scheduler = options;
    SLUICE_ASSIGN(server_, server::Server::start(engine_, server));
    return {};
  }

  // Tokens per second of `count` requests at once, without HTTP.
  double direct(int count) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::promise<void>> ends(static_cast<size_t>(count));
    for (std::promise<void>& end : ends) {
      engine::Request request;
      request.prompt = engine_.tokenizer().encode(next_prompt(), text::SpecialTokens::kText);
      request.max_tokens = tokens_;
      request.sampling.temperature = 0;
      request.sampling.ignore_eos = true;
      engine::Listener listener;
      listener.update = [](const engine::Update&) {};
      listener.end = [&end](const engine::Outcome&) { end.set_value(); };
      if (!scheduler_->submit(std::move(request), std::move(listener))) end.set_value();
    }
    for (std::promise<void>& end : ends) end.get_future().wait();
    return static_cast<double>(count * tokens_) / seconds_since(begin);
  }

  // The same as streams.
  double served(int count) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> clients;
    for (int n = 0; n < count; ++n)
      clients.emplace_back([this, body = body_of(next_prompt(), tokens_)] { (void)post(body); });
    for (std::thread& client : clients) client.join();
    return static_cast<double>(count * tokens_) / seconds_since(begin);
  }

  // Milliseconds until the first event of a stream with text.
  double first_token(const std::string& prompt) {
    test::RawClient client(server_->port());
    const auto begin = std::chrono::steady_clock::now();
    client.send(post_text(body_of(prompt, 1)));
    client.read_until("\"text\":");
    const double time = 1000 * seconds_since(begin);
    client.read_all();
    return time;
  }

  std::string next_prompt() { return fmt::format("{} The Linux kernel", ++prompts_); }
  engine::Engine& engine() { return engine_; }

 private:
  static std::string body_of(const std::string& prompt, int64_t tokens) {
    return nlohmann::json{{"prompt", prompt},
                          {"stream", true},
                          {"max_tokens", tokens},
                          {"temperature", 0},
                          {"ignore_eos", true}}
        .dump();
  }
  static std::string post_text(const std::string& body) {
    return fmt::format(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        "Content-Length: {}\r\n\r\n{}",
        body.size(), body);
  }
  std::string post(const std::string& body) {
    test::RawClient client(server_->port());
    client.send(post_text(body));
    return client.read_all();
  }

  engine::Engine& engine_;
  int64_t tokens_;
  std::unique_ptr<engine::Scheduler> scheduler_;
  std::unique_ptr<server::Server> server_;
  int prompts_ = 0;
};

void throughput(Bench& bench, int rounds) {
  std::vector<double> direct_one, served_one, direct_all, served_all;
  for (int n = 0; n <= rounds; ++n) {
    const double a = bench.direct(1), b = bench.served(1), c = bench.direct(kSlots),
                 d = bench.served(kSlots);
    if (n == 0) continue;  // warms up
    direct_one.push_back(a);
    served_one.push_back(b);
    direct_all.push_back(c);
    served_all.push_back(d);
  }
  std::vector<double> overhead, gain;
  for (size_t n = 0; n < served_one.size(); ++n) {
    overhead.push_back(100 * (direct_one[n] / served_one[n] - 1));
    gain.push_back(served_all[n] / served_one[n]);
  }
  std::printf("1 request:  %8.1f tok/s by the scheduler, %8.1f over HTTP: %.1f %% of a token\n",
              median(direct_one), median(served_one), median(overhead));
  std::printf("%d requests: %8.1f tok/s by the scheduler, %8.1f over HTTP\n", kSlots,
              median(direct_all), median(served_all));
  std::printf("%d clients get %.2f times what one gets (by the scheduler %.2f)\n", kSlots,
              median(gain), median(direct_all) / median(direct_one));
}

void first_token(Bench& bench, int rounds) {
  const int64_t most = std::min<int64_t>(2000, bench.engine().context() - 40);
  std::vector<double> cold, warm;
  int64_t count = 0;
  for (int n = 0; n < rounds; ++n) {
    std::string text = bench.next_prompt();
    do {
      text += fmt::format(" part {} of it reads files,", text.size());
      count = static_cast<int64_t>(
          bench.engine().tokenizer().encode(text, text::SpecialTokens::kText).size());
    } while (count < most - 20);
    cold.push_back(bench.first_token(text));
    warm.push_back(bench.first_token(text + " and what"));
  }
  std::printf("first token after %lld tokens: %.1f ms, %.2f ms with all but the end held: 1/%.0f\n",
              static_cast<long long>(count), median(cold), median(warm),
              median(cold) / median(warm));
}

int run(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: server_bench MODEL.gguf [tokens] [rounds]\n", stderr);
    return 2;
  }
  const auto number = [&](int n, int fallback) {
    int value = fallback;
    if (argc > n)
      std::from_chars(argv[n], argv[n] + std::char_traits<char>::length(argv[n]), value);
    return std::max(value, 1);
  };
  engine::EngineOptions options;
  options.model_path = argv[1];
  options.context = 2048;
  options.any_context = true;
  options.sessions = 2 * kSlots;
  auto engine = engine::Engine::load(options);
  Status started;
  if (engine) {
    started = (*engine)->wait_until_loaded();
    Bench bench(**engine, number(2, 128));
    if (started) started = bench.start();
    if (started) {
      throughput(bench, number(3, 7));
      first_token(bench, 3);
    }
  } else {
    started = fail(std::move(engine.error()));
  }
  if (!started) std::fprintf(stderr, "server_bench: %s\n", started.error().message.c_str());
  return started ? 0 : 1;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  return sluice::bench::run(argc, argv);
}
