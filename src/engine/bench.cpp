// SPDX-License-Identifier: Apache-2.0
#include "engine/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace sluice::engine {
namespace {

uint64_t steady_nanoseconds() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

void tell(const BenchOptions& options, BenchPhase phase, int repetition) {
  if (options.progress) options.progress(phase, repetition);
}

Status check(const BenchTest& test, const BenchOptions& options, int64_t capacity) {
  if (test.prompt < 0 || test.generate < 0 || test.depth < 0 || test.prompt + test.generate == 0)
    return fail(ErrorKind::kUsage, "a test needs tokens to read or to generate");
  if (options.batch < 1 || options.ubatch < 1 || options.repetitions < 1)
    return fail(ErrorKind::kUsage, "batch, ubatch and repetitions must be at least 1");
  if (test.positions() > capacity)
    return fail(ErrorKind::kTooLarge, "the test needs {} positions, the context has {}",
                test.positions(), capacity);
  return {};
}

void add(const residency::CacheStatistics& before, const residency::CacheStatistics& after,
         ExpertUse& use) {
  use.requests += after.requests - before.requests;
  use.hits += after.hits - before.hits;
  use.bytes_read += after.bytes_read - before.bytes_read;
  use.reading_ns += static_cast<uint64_t>((after.reading - before.reading).count());
  use.stalled_ns += static_cast<uint64_t>((after.stalled - before.stalled).count());
  use.bytes_while_stalled += after.bytes_while_stalled - before.bytes_while_stalled;
}

double per_second(uint64_t bytes, uint64_t ns) {
  return ns == 0 ? 0.0 : 1e9 * static_cast<double>(bytes) / static_cast<double>(ns);
}

}  // namespace

double ExpertUse::read_rate() const {
  return per_second(bytes_read, reading_ns);
}

double ExpertUse::stalled_rate() const {
  return per_second(bytes_while_stalled, stalled_ns);
}

Result<Bench> Bench::create(Engine& engine, int64_t capacity, const model::CacheTypes& types) {
  SLUICE_ASSIGN(Session session, Session::create(engine, capacity, types));
  return Bench(engine, std::move(session));
}

std::vector<text::Token> Bench::random_tokens(int64_t count) {
  std::vector<text::Token> tokens(static_cast<size_t>(count));
  const auto vocabulary = static_cast<uint32_t>(engine_->tokenizer().size());
  for (text::Token& token : tokens) token = static_cast<text::Token>(random_() % vocabulary);
  return tokens;
}

Status Bench::go_to(int64_t depth, const BenchOptions& options, int repetition) {
  if (depth == 0) {
    session_.truncate(0);
    return {};
  }
  const auto wanted = static_cast<size_t>(depth);
  if (depth_ && depth_->tokens.size() == wanted && session_.restore(*depth_)) return {};
  if (depth_tokens_.size() < wanted) {
    const auto more = random_tokens(depth - static_cast<int64_t>(depth_tokens_.size()));
    depth_tokens_.insert(depth_tokens_.end(), more.begin(), more.end());
  }
  tell(options, BenchPhase::kDepth, repetition);
  SLUICE_TRY(session_.reuse(std::span(depth_tokens_).first(wanted)));
  depth_.reset();
  SLUICE_ASSIGN(Session::Checkpoint filled, session_.checkpoint());
  depth_.emplace(std::move(filled));
  return {};
}

Status Bench::read(std::span<const text::Token> tokens, const BenchOptions& options) {
  while (!tokens.empty()) {
    std::span<const text::Token> batch =
        tokens.first(std::min(tokens.size(), static_cast<size_t>(options.batch)));
    tokens = tokens.subspan(batch.size());
    while (!batch.empty()) {
      const size_t count = std::min(batch.size(), static_cast<size_t>(options.ubatch));
      SLUICE_TRY(session_.feed(batch.first(count)));
      batch = batch.subspan(count);
    }
  }
  return {};
}

Status Bench::generate(std::span<const text::Token> tokens) {
  for (const text::Token& token : tokens) SLUICE_TRY(session_.feed({&token, 1}));
  return {};
}

// On top of the depth, so that the depth survives it.
Status Bench::warm_up(const BenchTest& test, const BenchOptions& options) {
  SLUICE_TRY(go_to(test.depth, options, 0));
  if (test.prompt > 0) {
    tell(options, BenchPhase::kWarmupPrompt, 0);
    SLUICE_TRY(read(random_tokens(test.prompt), options));
  }
  if (test.generate > 0) {
    tell(options, BenchPhase::kWarmupGeneration, 0);
    SLUICE_TRY(generate(random_tokens(1)));
  }
  return {};
}

Result<std::vector<uint64_t>> Bench::run(const BenchTest& test, const BenchOptions& options) {
  SLUICE_TRY(check(test, options, session_.capacity()));
  if (options.warmup) SLUICE_TRY(warm_up(test, options));
  std::vector<uint64_t> samples;
  experts_ = {};
  for (int repetition = 1; repetition <= options.repetitions; ++repetition) {
    SLUICE_TRY(go_to(test.depth, options, repetition));
    const std::vector<text::Token> prompt = random_tokens(test.prompt);
    const std::vector<text::Token> generated = random_tokens(test.generate);
    const auto now = [&options] { return options.clock ? options.clock() : steady_nanoseconds(); };
    const residency::CacheStatistics before = engine_->model().experts().statistics();
    const uint64_t start = now();
    if (test.prompt > 0) {
      tell(options, BenchPhase::kPrompt, repetition);
      SLUICE_TRY(read(prompt, options));
    }
    if (test.generate > 0) {
      tell(options, BenchPhase::kGeneration, repetition);
      SLUICE_TRY(generate(generated));
    }
    samples.push_back(now() - start);
    add(before, engine_->model().experts().statistics(), experts_);
  }
  return samples;
}

Statistics statistics(std::span<const double> samples) {
  if (samples.empty()) return {};
  Statistics result;
  const auto count = static_cast<double>(samples.size());
  for (const double sample : samples) result.mean += sample / count;
  if (samples.size() < 2) return result;
  double squares = 0;
  for (const double sample : samples) squares += (sample - result.mean) * (sample - result.mean);
  result.deviation = std::sqrt(squares / (count - 1));
  return result;
}

}  // namespace sluice::engine
