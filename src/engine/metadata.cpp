// SPDX-License-Identifier: Apache-2.0
// What the engine reads of a GGUF's metadata besides the model: vocabulary and sampling defaults.
#include <cmath>

#include "engine/engine.h"

namespace sluice::engine {
namespace {

// An optional token id; ids outside the vocabulary are an error.
Status add_token(const gguf::Gguf& file, const char* key, size_t vocabulary,
                 std::vector<text::Token>& out) {
  if (!file.find(key)) return {};
  SLUICE_ASSIGN(const uint64_t id, file.require_uint(key));
  // Converters write -1 as an unsigned number for "none".
  if (id == 0xffffffffu) return {};
  if (id >= vocabulary)
    return fail(ErrorKind::kBadFile, "{}: {} is {}, the vocabulary has {} tokens",
                file.files().front()->name(), key, id, vocabulary);
  out.push_back(static_cast<text::Token>(id));
  return {};
}

// Converters write these numbers as integers or as floats, whatever they count.
Result<double> sampling_number(const gguf::Gguf& file, const std::string& key, double fallback) {
  if (const gguf::Value* value = file.find(key)) {
    if (const auto* number = std::get_if<uint64_t>(&value->data))
      return static_cast<double>(*number);
    if (const auto* number = std::get_if<int64_t>(&value->data))
      return static_cast<double>(*number);
  }
  return file.number_or(key, fallback);
}

Status overlay(const gguf::Gguf& file, const char* name, float& value) {
  SLUICE_ASSIGN(const double number,
                sampling_number(file, std::string("general.sampling.") + name, value));
  value = static_cast<float>(number);
  return {};
}

Status overlay(const gguf::Gguf& file, const char* name, int& value) {
  const std::string key = std::string("general.sampling.") + name;
  SLUICE_ASSIGN(const double number, sampling_number(file, key, value));
  if (!(std::abs(number) < 1e9))
    return fail(ErrorKind::kBadFile, "{}: {} is {}, out of range", file.files().front()->name(),
                key, number);
  value = static_cast<int>(number);
  return {};
}

}  // namespace

Result<text::Tokenizer> load_tokenizer(const gguf::Gguf& file) {
  text::TokenizerSpec spec;
  SLUICE_ASSIGN(spec.model, file.require_string("tokenizer.ggml.model"));
  SLUICE_ASSIGN(spec.pre_tokenizer, file.string_or("tokenizer.ggml.pre", "default"));
  SLUICE_ASSIGN(const std::vector<std::string>* tokens,
                file.require_strings("tokenizer.ggml.tokens"));
  SLUICE_ASSIGN(const std::vector<std::string>* merges,
                file.require_strings("tokenizer.ggml.merges"));
  spec.tokens = *tokens;
  spec.merges = *merges;
  if (file.find("tokenizer.ggml.token_type")) {
    SLUICE_ASSIGN(const std::vector<int64_t> kinds, file.require_ints("tokenizer.ggml.token_type"));
    spec.kinds.assign(kinds.begin(), kinds.end());
  }
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})
    SLUICE_TRY(add_token(file, key, tokens->size(), spec.end_of_generation));
  auto tokenizer = text::Tokenizer::create(std::move(spec));
  if (!tokenizer)
    return fail(tokenizer.error().kind, "{}: {}", file.files().front()->name(),
                tokenizer.error().message);
  return tokenizer;
}

Result<SamplingParams> default_sampling(const gguf::Gguf& file) {
  SamplingParams params;
  SLUICE_TRY(overlay(file, "temp", params.temperature));
  SLUICE_TRY(overlay(file, "top_k", params.top_k));
  SLUICE_TRY(overlay(file, "top_p", params.top_p));
  SLUICE_TRY(overlay(file, "min_p", params.min_p));
  SLUICE_TRY(overlay(file, "xtc_probability", params.xtc_probability));
  SLUICE_TRY(overlay(file, "xtc_threshold", params.xtc_threshold));
  SLUICE_TRY(overlay(file, "penalty_last_n", params.repeat_last_n));
  SLUICE_TRY(overlay(file, "penalty_repeat", params.repeat_penalty));
  SLUICE_TRY(overlay(file, "mirostat", params.mirostat));
  SLUICE_TRY(overlay(file, "mirostat_tau", params.mirostat_tau));
  SLUICE_TRY(overlay(file, "mirostat_eta", params.mirostat_eta));
  SLUICE_ASSIGN(const std::string sequence, file.string_or("general.sampling.sequence", ""));
  if (!sequence.empty()) {
    auto letters = parse_sampler_sequence(sequence);
    if (!letters)
      return fail(ErrorKind::kBadFile, "{}: general.sampling.sequence: {}",
                  file.files().front()->name(), letters.error().message);
    params.sequence = std::move(*letters);
  }
  return params;
}

}  // namespace sluice::engine
