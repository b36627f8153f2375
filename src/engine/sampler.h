// SPDX-License-Identifier: Apache-2.0
// The sampling chain: logits in, one token out. Names, order and defaults are llama.cpp's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sluice::engine {

struct SamplingParams {
  uint64_t seed = UINT64_MAX;  // UINT64_MAX: taken from the system's entropy
  float temperature = 0.80f;   // <= 0: greedy
  float dynatemp_range = 0.0f;
  float dynatemp_exponent = 1.0f;
  int top_k = 40;  // <= 0: off
  float top_p = 0.95f;
  float min_p = 0.05f;
  float typical_p = 1.0f;
  float top_n_sigma = -1.0f;
  float xtc_probability = 0.0f;
  float xtc_threshold = 0.10f;
  int repeat_last_n = 64;  // -1: the whole context, 0: off
  float repeat_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  float dry_multiplier = 0.0f;
  float dry_base = 1.75f;
  int dry_allowed_length = 2;
  int dry_penalty_last_n = 64;  // -1: the whole context
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};
  int mirostat = 0;  // 0 off, 1, 2
  float mirostat_tau = 5.0f;
  float mirostat_eta = 0.10f;
  int min_keep = 0;
  bool ignore_eos = false;
  std::vector<std::pair<int32_t, float>> logit_bias;
  // Order of the chain, by llama.cpp's letters: e penalties, d dry, s top_n_sigma, k top_k, y
  // typical, p top_p, m min_p, x xtc, t temperature.
  std::string sequence = "edskypmxt";
};

// Checks ranges, letters and the tokens of logit_bias; kUsage names the parameter and the allowed
// range.
Status validate(const SamplingParams& params, int64_t vocabulary);
// "penalties;dry;top_k;..." or "edkypmxt" to letters; kUsage for unknown names. Names win where a
// word could be either ("temp"); '-' is read as '_', and typical, typical_p, nucleus and temp are
// known too.
Result<std::string> parse_sampler_sequence(std::string_view text);

struct Candidate {
  int32_t token;
  float logit;
  float probability;
};

// The chain of `sequence`, or with mirostat temperature and mirostat alone. Logit biases and bans
// come first. A NaN counts as -inf; where no logit is left above -inf the lowest token that is not
// banned is the answer. Equal logits are ordered by token, and the arithmetic is the same
// everywhere, so that a seed means the same text on every platform. Differences to llama.cpp:
// temperature <= 0 is greedy in any sequence and with any dynatemp_range; a repeat window of -1 is
// the whole history; DRY finds breakers in the text's bytes, wherever tokens cut them. Not
// thread-safe. After some tokens nothing allocates, but for windows of -1, which grow.
class Sampler {
 public:
  // piece: bytes of a token (DRY sequence breakers), copied, and called as long as the sampler
  // lives if DRY is on; banned: ids never to be sampled (padding rows); end_of_generation: what
  // ignore_eos bans. `params` has been validated.
  Sampler(SamplingParams params, int64_t vocabulary,
          const std::function<std::string_view(int32_t)>& piece, std::vector<int32_t> banned,
          std::vector<int32_t> end_of_generation);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // logits: [vocabulary], changed in place. The same seed, history and logits give the same token.
  // Does not accept it: a token that is to count for penalties and DRY goes to accept().
  int32_t sample(std::span<float> logits);
  // Tells the sampler of a token of the prompt or the answer (penalties, DRY): 0 <= token <
  // vocabulary.
  void accept(int32_t token);
  void reset();  // forgets history and restarts the random sequence

  // What was left to choose from at the last sample(), most probable first (before the draw); empty
  // before the first. Valid until the next sample() or reset().
  std::span<const Candidate> candidates() const;
  uint64_t seed() const;  // the seed in use

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::engine
