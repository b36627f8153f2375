// SPDX-License-Identifier: Apache-2.0
#include "server/parameters.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sluice::server {
namespace {

using Sampling = engine::SamplingParams;

constexpr size_t kMostStops = 64;
constexpr size_t kMostStopBytes = 4096;
constexpr size_t kMostBiases = 4096;
constexpr double kMostBias = 1e6;

struct Real {
  const char* name;
  double low, high;
  float Sampling::*field;
};
constexpr Real kReals[] = {
    {"temperature", -1, 100, &Sampling::temperature},
    {"dynatemp_range", 0, 100, &Sampling::dynatemp_range},
    {"dynatemp_exponent", 0, 100, &Sampling::dynatemp_exponent},
    {"top_p", 0, 1, &Sampling::top_p},
    {"min_p", 0, 1, &Sampling::min_p},
    {"typical_p", 0, 1, &Sampling::typical_p},
    {"top_n_sigma", -1, 1000, &Sampling::top_n_sigma},
    {"xtc_probability", 0, 1, &Sampling::xtc_probability},
    {"xtc_threshold", 0, 1, &Sampling::xtc_threshold},
    {"repeat_penalty", 0.001, 1000, &Sampling::repeat_penalty},
    {"repetition_penalty", 0.001, 1000, &Sampling::repeat_penalty},
    {"presence_penalty", -100, 100, &Sampling::presence_penalty},
    {"frequency_penalty", -100, 100, &Sampling::frequency_penalty},
    {"dry_multiplier", 0, 1000, &Sampling::dry_multiplier},
    {"dry_base", 0, 1000, &Sampling::dry_base},
    {"mirostat_tau", 0, 100, &Sampling::mirostat_tau},
    {"mirostat_eta", 0, 1, &Sampling::mirostat_eta},
};

struct Whole {
  const char* name;
  int64_t low, high;
  int Sampling::*field;
};
constexpr int64_t kMostInt = std::numeric_limits<int32_t>::max();
constexpr Whole kWholes[] = {
    {"top_k", -1, kMostInt, &Sampling::top_k},
    {"repeat_last_n", -1, kMostInt, &Sampling::repeat_last_n},
    {"dry_allowed_length", 0, kMostInt, &Sampling::dry_allowed_length},
    {"dry_penalty_last_n", -1, kMostInt, &Sampling::dry_penalty_last_n},
    {"mirostat", 0, 2, &Sampling::mirostat},
    {"min_keep", 0, kMostInt, &Sampling::min_keep},
};

std::string item(const char* name, size_t n) {
  return fmt::format("{}[{}]", name, n);
}

void read_texts(Fields& fields, const char* name, size_t most, size_t most_bytes,
                std::vector<std::string>& texts) {
  const Json* value = fields.get(name);
  if (!value) return;
  texts.clear();
  if (!value->is_string() && !value->is_array())
    return fields.refuse(name, "must be a string or an array of strings");
  const Json list = value->is_array() ? *value : Json::array({*value});
  if (list.size() > most)
    return fields.refuse(name,
                         fmt::format("has {} entries, at most {} are allowed", list.size(), most));
  for (size_t n = 0; n < list.size(); ++n) {
    if (!list[n].is_string()) return fields.refuse(item(name, n), "must be a string");
    const auto& text = list[n].get_ref<const std::string&>();
    if (text.size() > most_bytes)
      return fields.refuse(item(name, n), fmt::format("has {} bytes, at most {} are allowed",
                                                      text.size(), most_bytes));
    if (!text.empty()) texts.push_back(text);
  }
}

// {"15043": 1.5}, or [[15043, 1.5], ["Hello", -2], [15043, false]]; false: never.
void read_biases(Fields& fields, const Limits& limits, const engine::Engine& engine,
                 Sampling& sampling) {
  const Json* value = fields.get("logit_bias");
  if (!value) return;
  const auto number = [&](const std::string& path, const Json& bias) -> std::optional<float> {
    if (bias.is_boolean() && !bias.get<bool>()) return -std::numeric_limits<float>::infinity();
    const double real = bias.is_number() ? bias.get<double>() : NAN;
    if (real >= -kMostBias && real <= kMostBias) return static_cast<float>(real);
    fields.refuse(path,
                  fmt::format("must be a number from {} to {}, or false", -kMostBias, kMostBias));
    return std::nullopt;
  };
  if (!value->is_object() && !value->is_array())
    return fields.refuse("logit_bias", "must be an object of token ids, or an array of pairs");
  if (value->size() > kMostBiases)
    return fields.refuse("logit_bias", fmt::format("has {} entries, at most {} are allowed",
                                                   value->size(), kMostBiases));
  const auto token_range = fmt::format("must be a token id from 0 to {}", limits.vocabulary - 1);
  sampling.logit_bias.clear();
  if (value->is_object()) {
    for (const auto& [key, bias] : value->items()) {
      const std::string path = "logit_bias." + key;
      const bool digits = !key.empty() && key.size() < 10 &&
                          key.find_first_not_of("0123456789") == std::string::npos;
      const int64_t token = digits ? std::stoll(key) : -1;
      if (token < 0 || token >= limits.vocabulary) return fields.refuse(path, token_range);
      const auto amount = number(path, bias);
      if (!amount) return;
      sampling.logit_bias.emplace_back(static_cast<int32_t>(token), *amount);
    }
    return;
  }
  for (size_t n = 0; n < value->size(); ++n) {
    const Json& pair = (*value)[n];
    const std::string path = item("logit_bias", n);
    if (!pair.is_array() || pair.size() != 2)
      return fields.refuse(path, "must be a pair: a token id or a text, and a bias");
    const auto amount = number(path + "[1]", pair[1]);
    if (!amount) return;
    if (pair[0].is_string()) {
      for (const auto token : engine.tokenizer().encode(pair[0].get_ref<const std::string&>(),
                                                        text::SpecialTokens::kText))
        sampling.logit_bias.emplace_back(token, *amount);
      if (sampling.logit_bias.size() > kMostBiases)
        return fields.refuse(path, "too many tokens are biased");
      continue;
    }
    const auto token = as_integer(pair[0], 0, limits.vocabulary - 1);
    if (!token) return fields.refuse(path + "[0]", token_range);
    sampling.logit_bias.emplace_back(static_cast<int32_t>(*token), *amount);
  }
}

void read_samplers(Fields& fields, Sampling& sampling) {
  const Json* value = fields.get("samplers");
  if (!value) return;
  std::string names;
  if (value->is_string()) {
    names = value->get<std::string>();
  } else if (value->is_array() && value->size() <= 64) {
    for (const Json& name : *value) {
      if (!name.is_string()) return fields.refuse("samplers", "must be an array of names");
      if (!names.empty()) names += ';';
      names += name.get<std::string>();
    }
  } else {
    return fields.refuse("samplers", "must be a string or an array of at most 64 names");
  }
  if (names.size() > 4096) return fields.refuse("samplers", "is too long");
  if (auto letters = engine::parse_sampler_sequence(names))
    sampling.sequence = *letters;
  else
    fields.refuse("samplers", letters.error().message);
}

void read_chances(Fields& fields, Dialect dialect, Parameters& p) {
  if (dialect == Dialect::kChat) {
    const bool on = fields.boolean("logprobs").value_or(false);
    const auto top = fields.integer("top_logprobs", 0, 20);
    if (top && !on) return fields.refuse("top_logprobs", "needs \"logprobs\": true");
    if (on) p.chances = static_cast<int>(top.value_or(0));
  } else if (dialect == Dialect::kCompletions) {
    if (const auto top = fields.integer("logprobs", 0, 20)) p.chances = static_cast<int>(*top);
  } else if (dialect == Dialect::kNative) {
    if (const auto top = fields.integer("n_probs", 0, 100))
      p.chances = *top > 0 ? static_cast<int>(*top) : -1;
  }
}

}  // namespace

void read_parameters(Fields& fields, const Limits& limits, const engine::Engine& engine,
                     Dialect dialect, Parameters& p) {
  Sampling& s = p.sampling;
  for (const Real& real : kReals)
    if (const auto value = fields.number(real.name, real.low, real.high))
      s.*real.field = static_cast<float>(*value);
  for (const Whole& whole : kWholes)
    if (const auto value = fields.integer(whole.name, whole.low, whole.high))
      s.*whole.field = static_cast<int>(*value);
  // What is behind the context cannot come up.
  for (int Sampling::*window : {&Sampling::repeat_last_n, &Sampling::dry_penalty_last_n})
    s.*window = static_cast<int>(std::min<int64_t>(s.*window, limits.context));
  if (const auto seed = fields.integer("seed", std::numeric_limits<int64_t>::min(),
                                       std::numeric_limits<int64_t>::max()))
    s.seed = static_cast<uint64_t>(*seed);
  if (const auto on = fields.boolean("ignore_eos")) s.ignore_eos = *on;
  read_texts(fields, "dry_sequence_breakers", 128, 256, s.dry_sequence_breakers);
  read_biases(fields, limits, engine, s);
  read_samplers(fields, s);

  static constexpr const char* kMostNames[] = {"n_predict", "max_output_tokens", "max_tokens",
                                               "max_completion_tokens"};
  for (const char* name : kMostNames)
    if (const auto most = fields.integer(name, -1, kMostInt)) p.max_tokens = *most;
  if (const auto time = fields.number("t_max_predict_ms", -1, 1e12))
    p.max_seconds = std::max(0.0, *time / 1000);
  read_texts(fields, "stop", kMostStops, kMostStopBytes, p.stop);
  if (dialect == Dialect::kMessages)
    read_texts(fields, "stop_sequences", kMostStops, kMostStopBytes, p.stop);
  for (const char* name : {"n", "n_cmpl"})
    if (const auto count = fields.integer(name, 1, limits.slots)) p.answers = *count;
  read_chances(fields, dialect, p);
  if (const auto on = fields.boolean("stream")) p.stream = *on;
  if (const auto on = fields.boolean("timings_per_token")) p.timings_per_token = *on;
  if (const auto on = fields.boolean("cache_prompt")) p.cache_prompt = *on;
  if (const Json* options = fields.object("stream_options")) {
    Fields inner(*options, "stream_options");
    p.include_usage = inner.boolean("include_usage").value_or(false);
    if (auto status = inner.status(); !status) fields.refuse(std::move(status.error()));
  }
  if (fields.failed()) return;
  if (const Status valid = engine::validate(s, limits.vocabulary); !valid)
    fields.refuse("", valid.error().message);
}

void refuse_unsupported(Fields& fields, Dialect dialect) {
  static constexpr const char* kNotYet = "is not supported: leave it out";
  for (const char* name : {"grammar", "json_schema"})
    if (const Json* value = fields.get(name);
        value && !(value->is_string() && value->get_ref<const std::string&>().empty()))
      fields.refuse(name, kNotYet);
  if (const Json* format = fields.get("response_format")) {
    const Json type = format->is_object() ? format->value("type", Json()) : Json();
    if (type != "text")
      fields.refuse("response_format", "is not supported: only {\"type\": \"text\"} is");
  }
  if (dialect == Dialect::kResponses) {
    const Json* text = fields.get("text");
    const Json format = text && text->is_object() ? text->value("format", Json()) : Json();
    if (!format.is_null() && !(format.is_object() && format.value("type", Json()) == "text"))
      fields.refuse("text.format", "is not supported: only {\"type\": \"text\"} is");
    for (const char* name : {"previous_response_id", "conversation", "prompt", "background"})
      if (const Json* value = fields.get(name); value && *value != false)
        fields.refuse(name, "is not supported: send the whole conversation as input");
  }
  if (const Json* choice = fields.get("tool_choice")) {
    const Json type = choice->is_object() ? choice->value("type", Json()) : *choice;
    if (type != "auto" && type != "none")
      fields.refuse("tool_choice", "is not supported: only \"auto\" and \"none\" are");
  }
}

}  // namespace sluice::server
