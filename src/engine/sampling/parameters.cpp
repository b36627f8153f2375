// SPDX-License-Identifier: Apache-2.0
// What a user may ask of the sampling chain.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/sampler.h"

namespace sluice::engine {
namespace {

struct Name {
  char letter;
  std::string_view name;
};
// Each sampler's own name first, then the other spellings in use.
constexpr std::array kNames = {
    Name{'e', "penalties"},   Name{'d', "dry"},     Name{'s', "top_n_sigma"}, Name{'k', "top_k"},
    Name{'y', "typ_p"},       Name{'p', "top_p"},   Name{'m', "min_p"},       Name{'x', "xtc"},
    Name{'t', "temperature"}, Name{'y', "typical"}, Name{'y', "typical_p"},   Name{'p', "nucleus"},
    Name{'t', "temp"},
};
constexpr std::string_view kLetters = "edskypmxt";
constexpr size_t kMaxSteps = 64;
constexpr size_t kMaxBreakers = 128;
constexpr size_t kMaxBreakerBytes = 256;

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t from = text.find_first_not_of(kSpace);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kSpace) - from + 1);
}

// '\0' for a name nobody has.
char letter_of(std::string_view text) {
  std::string name(text);
  std::ranges::replace(name, '-', '_');
  const auto found = std::ranges::find(kNames, std::string_view(name), &Name::name);
  return found == kNames.end() ? '\0' : found->letter;
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Both ends included; an infinite end means any finite number.
Status check(std::string_view name, float value, float low, float high) {
  if (std::isfinite(value) && value >= low && value <= high) return {};
  if (low == -kInfinity) {
    return fail(ErrorKind::kUsage, "{} is {}: it must be a finite number", name, value);
  }
  if (high == kInfinity) {
    return fail(ErrorKind::kUsage, "{} is {}: it must be a finite number of at least {}", name,
                value, low);
  }
  return fail(ErrorKind::kUsage, "{} is {}: it must lie between {} and {}", name, value, low, high);
}

Status check_least(std::string_view name, int value, int low) {
  if (value >= low) return {};
  return fail(ErrorKind::kUsage, "{} is {}: it must be at least {}", name, value, low);
}

Status check_lists(const SamplingParams& params, int64_t vocabulary) {
  if (params.dry_sequence_breakers.size() > kMaxBreakers) {
    return fail(ErrorKind::kUsage, "dry_sequence_breakers has {} entries: it may have at most {}",
                params.dry_sequence_breakers.size(), kMaxBreakers);
  }
  for (size_t i = 0; i < params.dry_sequence_breakers.size(); ++i) {
    const size_t bytes = params.dry_sequence_breakers[i].size();
    if (bytes >= 1 && bytes <= kMaxBreakerBytes) continue;
    return fail(ErrorKind::kUsage,
                "dry_sequence_breakers[{}] has {} bytes: it must have between 1 and {}", i, bytes,
                kMaxBreakerBytes);
  }
  for (size_t i = 0; i < params.logit_bias.size(); ++i) {
    const auto [token, bias] = params.logit_bias[i];
    if (token < 0 || token >= vocabulary) {
      return fail(ErrorKind::kUsage, "logit_bias[{}] is for token {}: tokens lie between 0 and {}",
                  i, token, vocabulary - 1);
    }
    if (std::isnan(bias) || bias == kInfinity) {
      return fail(ErrorKind::kUsage,
                  "logit_bias[{}] is {}: it must be a finite number, or -inf to ban the token", i,
                  bias);
    }
  }
  return {};
}

}  // namespace

Status validate(const SamplingParams& params, int64_t vocabulary) {
  if (vocabulary < 1 || vocabulary > std::numeric_limits<int32_t>::max()) {
    return fail(ErrorKind::kUsage, "a vocabulary of {} tokens cannot be sampled from", vocabulary);
  }
  SLUICE_TRY(check("temperature", params.temperature, -kInfinity, kInfinity));
  SLUICE_TRY(check("dynatemp_range", params.dynatemp_range, 0, kInfinity));
  SLUICE_TRY(check("dynatemp_exponent", params.dynatemp_exponent, 0, kInfinity));
  SLUICE_TRY(check("top_p", params.top_p, 0, 1));
  SLUICE_TRY(check("min_p", params.min_p, 0, 1));
  SLUICE_TRY(check("typical_p", params.typical_p, 0, 1));
  SLUICE_TRY(check("top_n_sigma", params.top_n_sigma, -kInfinity, kInfinity));
  SLUICE_TRY(check("xtc_probability", params.xtc_probability, 0, 1));
  SLUICE_TRY(check("xtc_threshold", params.xtc_threshold, 0, 1));
  SLUICE_TRY(check_least("repeat_last_n", params.repeat_last_n, -1));
  if (params.repeat_penalty == 0.0f) {  // would divide by it
    return fail(ErrorKind::kUsage,
                "repeat_penalty is 0: it must be greater than 0 (1 turns it off)");
  }
  SLUICE_TRY(check("repeat_penalty", params.repeat_penalty, 0, kInfinity));
  SLUICE_TRY(check("presence_penalty", params.presence_penalty, -100, 100));
  SLUICE_TRY(check("frequency_penalty", params.frequency_penalty, -100, 100));
  SLUICE_TRY(check("dry_multiplier", params.dry_multiplier, 0, kInfinity));
  SLUICE_TRY(check("dry_base", params.dry_base, 0, kInfinity));
  SLUICE_TRY(check_least("dry_allowed_length", params.dry_allowed_length, 0));
  SLUICE_TRY(check_least("dry_penalty_last_n", params.dry_penalty_last_n, -1));
  if (params.mirostat < 0 || params.mirostat > 2) {
    return fail(ErrorKind::kUsage, "mirostat is {}: it must be 0 (off), 1 or 2", params.mirostat);
  }
  SLUICE_TRY(check("mirostat_tau", params.mirostat_tau, 0, 100));
  SLUICE_TRY(check("mirostat_eta", params.mirostat_eta, 0, 1));
  SLUICE_TRY(check_least("min_keep", params.min_keep, 0));
  if (params.sequence.size() > kMaxSteps) {
    return fail(ErrorKind::kUsage, "the sampler sequence has {} steps: it may have at most {}",
                params.sequence.size(), kMaxSteps);
  }
  for (const char letter : params.sequence) {
    if (kLetters.find(letter) == std::string_view::npos) {
      return fail(ErrorKind::kUsage, "unknown sampler '{}' in the sequence: known are {}", letter,
                  kLetters);
    }
  }
  return check_lists(params, vocabulary);
}

Result<std::string> parse_sampler_sequence(std::string_view text) {
  text = trim(text);
  // A name comes first: "temp" could be letters too.
  const bool named = text.find(';') != std::string_view::npos || letter_of(text) != '\0';
  std::string letters;
  if (!named && text.find_first_not_of(kLetters) == std::string_view::npos) {
    letters = text;
  } else {
    while (!text.empty()) {
      const size_t end = std::min(text.find(';'), text.size());
      const std::string_view name = trim(text.substr(0, end));
      text.remove_prefix(std::min(text.size(), end + 1));
      if (name.empty()) continue;
      const char letter = letter_of(name);
      if (letter == '\0') {
        return fail(ErrorKind::kUsage,
                    "unknown sampler \"{}\": known are penalties, dry, top_n_sigma, top_k, typ_p, "
                    "top_p, min_p, xtc, temperature (joined by ;), or the letters {}",
                    name, kLetters);
      }
      letters += letter;
    }
  }
  if (letters.size() > kMaxSteps) {
    return fail(ErrorKind::kUsage, "the sampler sequence has {} steps: it may have at most {}",
                letters.size(), kMaxSteps);
  }
  return letters;
}

}  // namespace sluice::engine
