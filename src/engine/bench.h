// SPDX-License-Identifier: Apache-2.0
// Measures how fast a loaded model reads a prompt and generates, as llama-bench defines it: random
// tokens, nothing but forward passes inside the timing. Prints nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "engine/session.h"

namespace sluice::engine {

// In tokens. A test reads `prompt` and then generates `generate`, after `depth` others.
struct BenchTest {
  int64_t prompt = 0;
  int64_t generate = 0;
  int64_t depth = 0;

  int64_t positions() const { return prompt + generate + depth; }
};

enum class BenchPhase { kDepth, kWarmupPrompt, kWarmupGeneration, kPrompt, kGeneration };

struct BenchOptions {
  int64_t batch = 2048;  // tokens handed over at a time
  int64_t ubatch = 512;  // tokens of one forward pass; more than the engine's count as those
  int repetitions = 5;
  bool warmup = true;
  // Told before each phase; repetition counts from 1 (0: warm-up).
  std::function<void(BenchPhase phase, int repetition)> progress;
  std::function<uint64_t()> clock;  // nanoseconds; empty: the system's steady clock
};

// What a run asked the cache of experts for.
struct ExpertUse {
  uint64_t requests = 0;
  uint64_t hits = 0;
  uint64_t bytes_read = 0;
  uint64_t reading_ns = 0;           // time with reads under way
  uint64_t stalled_ns = 0;           // time in which the computation waited
  uint64_t bytes_while_stalled = 0;  // read in it

  // Bytes per second; 0: nothing was read.
  double read_rate() const;
  double stalled_rate() const;
};

class Bench {
 public:
  // One memory of `capacity` positions for all tests; `engine` must outlive it. Errors as
  // Session::create.
  static Result<Bench> create(Engine& engine, int64_t capacity, const model::CacheTypes& types);

  // The nanoseconds of every repetition. The depth is filled, and the warm-up done, outside of
  // them; the depth of the run before is kept when it is the same.
  // kUsage for a test without tokens or options out of range, kTooLarge when it does not fit.
  Result<std::vector<uint64_t>> run(const BenchTest& test, const BenchOptions& options);

  // Of the last run's repetitions, without warm-up and depth.
  const ExpertUse& experts() const { return experts_; }
  uint64_t cache_bytes() const { return session_.bytes(); }

 private:
  Bench(Engine& engine, Session session) : engine_(&engine), session_(std::move(session)) {}
  std::vector<text::Token> random_tokens(int64_t count);
  Status go_to(int64_t depth, const BenchOptions& options, int repetition);
  Status read(std::span<const text::Token> tokens, const BenchOptions& options);
  Status generate(std::span<const text::Token> tokens);
  Status warm_up(const BenchTest& test, const BenchOptions& options);

  Engine* engine_;
  Session session_;
  std::mt19937 random_{1};
  std::vector<text::Token> depth_tokens_;  // the same ones for every depth
  std::optional<Session::Checkpoint> depth_;
  ExpertUse experts_;
};

// Of samples in any unit: mean and sample standard deviation (0 for one sample).
struct Statistics {
  double mean = 0;
  double deviation = 0;
};
Statistics statistics(std::span<const double> samples);

}  // namespace sluice::engine
