// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <optional>
#include <random>
#include <utility>

#include "base/check.h"
#include "engine/sampling/candidates.h"
#include "engine/sampling/dry.h"
#include "engine/sampling/mirostat.h"
#include "engine/sampling/numeric.h"
#include "engine/sampling/penalties.h"
#include "engine/sampling/temperature.h"
#include "engine/sampling/truncation.h"

namespace sluice::engine {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

uint64_t seed_from_system() {
  uint64_t seed = 0;
  try {
    std::random_device device;
    seed = (static_cast<uint64_t>(device()) << 32) | device();
  } catch (const std::exception&) {  // a system without entropy: the clock will do for sampling
    seed = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
  return seed == UINT64_MAX ? 0 : seed;
}

bool uses_penalties(const SamplingParams& p) {
  return p.repeat_last_n != 0 &&
         (p.repeat_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f);
}

bool uses_dry(const SamplingParams& p) {
  return p.dry_penalty_last_n != 0 && p.dry_multiplier > 0.0f && p.dry_base >= 1.0f;
}

// Whether a step of the chain does anything.
bool active(char step, const SamplingParams& p) {
  switch (step) {
    case 'e':
      return uses_penalties(p);
    case 'd':
      return uses_dry(p);
    case 's':
      return p.top_n_sigma > 0.0f;
    case 'k':
      return p.top_k > 0;
    case 'y':
      return p.typical_p < 1.0f;
    case 'p':
      return p.top_p < 1.0f;
    case 'm':
      return p.min_p > 0.0f;
    case 'x':
      return p.xtc_probability > 0.0f && p.xtc_threshold <= 0.5f;
    case 't':
      return p.temperature != 1.0f || p.dynatemp_range > 0.0f;
    default:
      SLUICE_CHECK(false, "the sequence was not validated");
  }
}

// The steps that do something, in order. At temperature 0 the answer is the best candidate, so
// steps that cannot remove it and that no later step depends on are left out.
std::string plan(const SamplingParams& p) {
  if (p.mirostat != 0) return "t";
  std::string steps;
  for (const char step : p.sequence) {
    if (active(step, p)) steps += step;
  }
  if (p.temperature <= 0.0f) {
    constexpr std::string_view kMayChangeTheBest = "edyx";
    steps.resize(steps.find_last_of(kMayChangeTheBest) + 1);  // npos + 1 is 0
  }
  return steps;
}

}  // namespace

struct Sampler::Impl {
  SamplingParams params;
  size_t vocabulary;
  uint64_t seed;
  std::string steps;
  size_t min_keep;
  bool greedy;
  std::vector<std::pair<int32_t, float>> biases;  // finite ones
  std::vector<int32_t> banned;                    // everything that must not be sampled
  std::vector<int32_t> never;                     // the part that is no token at all
  std::optional<sampling::Penalties> penalties;
  std::optional<sampling::Dry> dry;
  std::optional<sampling::Mirostat> mirostat;
  sampling::Generator generator;
  sampling::CandidateSet set;

  void run(char step);
  int32_t draw();
  int32_t fallback() const;
};

void Sampler::Impl::run(char step) {
  using namespace sampling;
  switch (step) {
    case 'e':
      penalties->apply(set);
      break;
    case 'd':
      dry->apply(set);
      break;
    case 's':
      top_n_sigma(set, params.top_n_sigma);
      break;
    case 'k':
      top_k(set, params.top_k);
      break;
    case 'y':
      typical(set, params.typical_p, min_keep);
      break;
    case 'p':
      top_p(set, params.top_p, min_keep);
      break;
    case 'm':
      min_p(set, params.min_p, min_keep);
      break;
    case 'x':
      if (set.size() >= 2 && uniform(generator) < params.xtc_probability) {
        exclude_top_choices(set, params.xtc_threshold, min_keep);
      }
      break;
    case 't':
      if (greedy || mirostat) {
        temperature(set, params.temperature);
      } else {
        dynamic_temperature(set, params.temperature, params.dynatemp_range,
                            params.dynatemp_exponent);
      }
      break;
    default:
      SLUICE_CHECK(false, "the sequence was not validated");
  }
}

// One of the candidates by its weight.
int32_t Sampler::Impl::draw() {
  const double total = set.weight_sum();
  const Candidate drawn = set.at_weight(sampling::uniform(generator) * total);
  if (mirostat) mirostat->observe(drawn.probability / total);
  return drawn.token;
}

// Nothing can be sampled (every logit -inf or NaN): the lowest token that is not banned, else the
// lowest that is a token, so that the answer is the same everywhere.
int32_t Sampler::Impl::fallback() const {
  for (const auto* excluded : {&banned, &never}) {
    size_t token = 0;
    for (const int32_t id : *excluded) {  // sorted, each once
      if (static_cast<size_t>(id) != token) break;
      ++token;
    }
    if (token < vocabulary) return static_cast<int32_t>(token);
  }
  return 0;
}

Sampler::Sampler(SamplingParams params, int64_t vocabulary,
                 const std::function<std::string_view(int32_t)>& piece, std::vector<int32_t> banned,
                 std::vector<int32_t> end_of_generation)
    : impl_(std::make_unique<Impl>()) {
  Impl& s = *impl_;
  s.params = std::move(params);
  const SamplingParams& p = s.params;
  s.vocabulary = static_cast<size_t>(vocabulary);
  s.seed = p.seed == UINT64_MAX ? seed_from_system() : p.seed;
  s.greedy = p.temperature <= 0.0f;
  s.min_keep = static_cast<size_t>(p.min_keep);
  s.steps = plan(p);

  s.never = std::move(banned);
  std::ranges::sort(s.never);
  s.never.erase(std::unique(s.never.begin(), s.never.end()), s.never.end());
  s.banned = s.never;
  if (p.ignore_eos) {
    s.banned.insert(s.banned.end(), end_of_generation.begin(), end_of_generation.end());
  }
  for (const auto& [token, bias] : p.logit_bias) {
    if (bias == kBanned) {
      s.banned.push_back(token);
    } else {
      s.biases.emplace_back(token, bias);
    }
  }
  std::ranges::sort(s.banned);
  s.banned.erase(std::unique(s.banned.begin(), s.banned.end()), s.banned.end());
  SLUICE_CHECK(s.banned.empty() || (s.banned.front() >= 0 && s.banned.back() < vocabulary),
               "banned tokens are tokens of the vocabulary");

  if (p.mirostat != 0) {
    s.mirostat.emplace(p.mirostat, p.mirostat_tau, p.mirostat_eta, s.vocabulary);
  }
  if (s.steps.find('e') != std::string::npos) {
    s.penalties.emplace(vocabulary, p.repeat_last_n, p.repeat_penalty, p.frequency_penalty,
                        p.presence_penalty);
  }
  if (s.steps.find('d') != std::string::npos) {
    s.dry.emplace(sampling::Dry::Options{p.dry_multiplier, p.dry_base, p.dry_allowed_length,
                                         p.dry_penalty_last_n, p.dry_sequence_breakers},
                  piece);
  }
  reset();
}

Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

int32_t Sampler::sample(std::span<float> logits) {
  Impl& s = *impl_;
  SLUICE_CHECK(logits.size() == s.vocabulary, "one logit per token");
  for (const auto& [token, bias] : s.biases) logits[static_cast<size_t>(token)] += bias;
  for (const int32_t token : s.banned) logits[static_cast<size_t>(token)] = kBanned;
  s.set.assign(logits);
  if (s.set.empty()) {
    s.set.assign_only(s.fallback());
    return s.set.list().front().token;
  }
  if (s.mirostat) {
    s.run('t');
    s.mirostat->truncate(s.set);
  } else {
    for (const char step : s.steps) s.run(step);
  }
  if (s.greedy) {
    s.set.keep_best();
    return s.set.list().front().token;
  }
  const int32_t token = s.draw();
  s.set.detach();
  return token;
}

void Sampler::accept(int32_t token) {
  SLUICE_CHECK(token >= 0 && static_cast<size_t>(token) < impl_->vocabulary, "an unknown token");
  if (impl_->penalties) impl_->penalties->accept(token);
  if (impl_->dry) impl_->dry->accept(token);
}

void Sampler::reset() {
  impl_->generator.seed(impl_->seed);
  if (impl_->penalties) impl_->penalties->clear();
  if (impl_->dry) impl_->dry->clear();
  if (impl_->mirostat) impl_->mirostat->clear();
  impl_->set.assign({});
}

std::span<const Candidate> Sampler::candidates() const {
  // Here and not in sample(), since most callers never ask.
  impl_->set.sort();
  impl_->set.normalize();
  return impl_->set.list();
}

uint64_t Sampler::seed() const {
  return impl_->seed;
}

}  // namespace sluice::engine
