// SPDX-License-Identifier: Apache-2.0
#include "tiny_model.h"

#include <algorithm>
#include <functional>
#include <stdexcept>

#include "text/byte_alphabet.h"

namespace sluice::test {
namespace {

constexpr const char* kTemplate =
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

std::string as_characters(std::string_view text) {
  std::string out;
  for (const char c : text) text::append_as_character(static_cast<uint8_t>(c), out);
  return out;
}

void add_vocabulary(TestModel& model) {
  std::vector<std::string> tokens;
  std::vector<int32_t> kinds;
  const auto add = [&](std::string text, text::TokenKind kind) {
    tokens.push_back(std::move(text));
    kinds.push_back(static_cast<int32_t>(kind));
  };
  for (int byte = 0; byte < 256; ++byte)
    add(as_characters(std::string(1, static_cast<char>(byte))), text::TokenKind::kNormal);
  std::vector<std::string> merges;
  for (const auto& [left, right] : {std::pair{"h", "e"},
                                    {"l", "l"},
                                    {"he", "ll"},
                                    {"hell", "o"},
                                    {" ", "w"},
                                    {"\xc3", "\xa9"}}) {
    merges.push_back(as_characters(left) + " " + as_characters(right));
    add(as_characters(std::string(left) + right), text::TokenKind::kNormal);
  }
  add("<|endoftext|>", text::TokenKind::kControl);
  add("<|im_start|>", text::TokenKind::kControl);
  add("<|im_end|>", text::TokenKind::kControl);
  add("<tool_call>", text::TokenKind::kUserDefined);
  add("[PAD266]", text::TokenKind::kUnused);
  if (tokens.size() != static_cast<size_t>(kTokens)) throw std::logic_error("vocabulary");

  model.set("tokenizer.ggml.model", std::string("gpt2"));
  model.set("tokenizer.ggml.pre", std::string("qwen2"));
  model.set("tokenizer.ggml.tokens", std::move(tokens));
  model.set("tokenizer.ggml.token_type", std::move(kinds));
  model.set("tokenizer.ggml.merges", std::move(merges));
  model.set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(kTurnEnd));
  model.set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(kEndOfText));
  model.set("tokenizer.chat_template", std::string(kTemplate));
}

}  // namespace

static TestModel with_vocabulary(ModelShape shape, uint32_t seed) {
  shape.vocabulary = kRows;
  shape.context = 128;
  TestModel model = random_model(shape, seed);
  add_vocabulary(model);
  return model;
}

TestModel tiny_model(uint32_t seed, const std::string& architecture) {
  ModelShape shape;
  shape.architecture = architecture;
  return with_vocabulary(shape, seed);
}

TestModel drafting_model(uint32_t seed) {
  return with_vocabulary(drafting(), seed);
}

// Layers that add nothing, and output rows that are the embedding of the token before.
static TestModel follow_script(TestModel model, const std::vector<int32_t>& script) {
  for (TestTensor& tensor : model.tensors)
    if (tensor.name.find("attn_output") != std::string::npos ||
        tensor.name.find("ssm_out") != std::string::npos ||
        tensor.name.find("ffn_down") != std::string::npos)
      std::ranges::fill(tensor.values, 0.0f);
  std::ranges::fill(model.tensor("output_norm.weight").values, 1.0f);
  const std::vector<float>& embedding = model.tensor("token_embd.weight").values;
  std::vector<float>& output = model.tensor("output.weight").values;
  std::ranges::fill(output, 0.0f);
  const auto dim = static_cast<long>(model.tensor("output.weight").shape[0]);
  for (size_t i = 0; i + 1 < script.size(); ++i)
    std::copy_n(embedding.begin() + script[i] * dim, dim, output.begin() + script[i + 1] * dim);
  return model;
}

TestModel scripted_model(const std::vector<int32_t>& script) {
  return follow_script(tiny_model(), script);
}

static std::vector<int32_t> script_of(std::string_view text) {
  std::vector<int32_t> script = bytes_as_tokens(text);
  script.push_back(kTurnEnd);
  return script;
}

TestModel scripted_model(std::string_view text) {
  return scripted_model(script_of(text));
}

TestModel scripted_drafting_model(std::string_view text, std::string_view mistakes) {
  TestModel model = follow_script(drafting_model(), script_of(text));
  // The block passes the next token's embedding on, as the layers do.
  TestTensor& project = model.tensor("blk.2.nextn.eh_proj.weight");
  std::ranges::fill(project.values, 0.0f);
  for (int64_t row = 0; row < project.shape[1]; ++row)
    project.values[static_cast<size_t>(row * project.shape[0] + row)] = 1;
  for (const char* norm : {"enorm", "shared_head_norm"})
    std::ranges::fill(model.tensor(std::string("blk.2.nextn.") + norm + ".weight").values, 1.0f);
  TestTensor own = model.tensor("token_embd.weight");
  own.name = "blk.2.nextn.embed_tokens.weight";
  for (const int32_t token : bytes_as_tokens(mistakes)) {
    const auto row = own.values.begin() + token * own.shape[0];
    std::transform(row, row + own.shape[0], row, std::negate<>());
  }
  model.tensors.push_back(std::move(own));
  return model;
}

TinyEngine::TinyEngine(const TestModel& model, engine::EngineOptions options) {
  options.model_path = model.write(folder_.path());
  if (options.threads == 0) options.threads = 2;
  options.drafts = true;
  auto loaded = engine::Engine::load(options);
  if (!loaded) throw std::runtime_error(loaded.error().message);
  engine_ = std::move(*loaded);
}

engine::Session TinyEngine::session() {
  auto created = engine::Session::create(*engine_);
  if (!created) throw std::runtime_error(created.error().message);
  return std::move(*created);
}

engine::Sampler TinyEngine::greedy() {
  engine::SamplingParams params;
  params.temperature = 0;
  auto sampler = engine_->make_sampler(params);
  if (!sampler) throw std::runtime_error(sampler.error().message);
  return std::move(*sampler);
}

std::vector<int32_t> bytes_as_tokens(std::string_view text) {
  std::vector<int32_t> tokens;
  for (const char c : text) tokens.push_back(static_cast<uint8_t>(c));
  return tokens;
}

}  // namespace sluice::test
