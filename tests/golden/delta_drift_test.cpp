// SPDX-License-Identifier: Apache-2.0
// The delta rule over a long real text: what a layer of the tiny model projects from it goes
// through every instruction set level in float and through the definition in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "../unit/compute/delta_reference.h"
#include "../unit/temp_folder.h"
#include "compute/cpu/cpu_backend.h"
#include "compute/cpu/kernels.h"
#include "engine/engine.h"
#include "gguf/quantize.h"
#include "model/registry.h"
#include "reference.h"

namespace sluice::golden {
namespace {

using compute::DeltaInput;
using compute::DeltaReference;

constexpr int64_t kTokens = 32768, kStep = 1024;
constexpr int kLayer = 2;  // behind two others
constexpr double kMost = 1e-3;

// Licence, documentation and chat templates: English prose, code, other languages.
std::string real_text() {
  std::vector<std::filesystem::path> files{SLUICE_ROOT "/LICENSE"};
  for (const auto& file : std::filesystem::directory_iterator(SLUICE_TEST_DATA "/data/templates"))
    if (file.path().extension() == ".jinja") files.push_back(file.path());
  std::sort(files.begin() + 1, files.end());
  std::ostringstream text;
  for (const auto& path : files) text << std::ifstream(path).rdbuf();
  return text.str();
}

// A backend that shows the inputs of the layer's delta rule.
struct Seen {
  sluice_delta_heads heads;
  std::vector<float> qkv, ba, a, bias;
  float eps;
  int calls = 0;
} seen;

const sluice_backend_api* watching_backend() {
  static sluice_backend_api api = *cpu::cpu_backend();
  api.delta_rule = [](sluice_backend* backend, const sluice_recurrent_span* spans, int32_t count,
                      const sluice_delta_heads* heads, const float* qkv, const float* ba,
                      const float* a, const float* bias, float eps, float* out) -> int32_t {
    if (seen.calls++ == kLayer) {
      const int64_t channels = 2 * int64_t{heads->key_heads} * heads->key_dim +
                               int64_t{heads->value_heads} * heads->value_dim;
      seen.heads = *heads;
      seen.qkv.assign(qkv, qkv + spans->rows * channels);
      seen.ba.assign(ba, ba + spans->rows * 2 * heads->value_heads);
      seen.a.assign(a, a + heads->value_heads);
      seen.bias.assign(bias, bias + heads->value_heads);
      seen.eps = eps;
    }
    return cpu::cpu_backend()->delta_rule(backend, spans, count, heads, qkv, ba, a, bias, eps, out);
  };
  return &api;
}

// Of what was seen, the first key head with its first value head.
DeltaInput first_head() {
  const sluice_delta_heads& h = seen.heads;
  const int64_t keys = int64_t{h.key_heads} * h.key_dim;
  const int64_t channels = 2 * keys + int64_t{h.value_heads} * h.value_dim;
  const int64_t group = h.value_heads / h.key_heads;
  DeltaInput in;
  in.heads = {1, 1, h.key_dim, h.value_dim};
  in.rows = kStep;
  for (int64_t r = 0; r < kStep; ++r) {
    const float* row = seen.qkv.data() + r * channels;
    in.qkv.insert(in.qkv.end(), row, row + h.key_dim);
    in.qkv.insert(in.qkv.end(), row + keys, row + keys + h.key_dim);
    in.qkv.insert(in.qkv.end(), row + 2 * keys, row + 2 * keys + h.value_dim);
    const float* ba = seen.ba.data() + r * 2 * h.value_heads;
    in.ba.push_back(ba[0]);
    in.ba.push_back(ba[group]);
  }
  in.a = {seen.a[0]};
  in.bias = {seen.bias[0]};
  in.eps = seen.eps;
  return in;
}

std::vector<DeltaInput> project_real_text() {
  // Read as Q8_0, which is several times faster than BF16.
  const test::TempFolder folder;
  const std::string path = folder.path() + "/q8_0.gguf";
  auto original = gguf::Gguf::open(model_path("qwen3next-tiny.bf16.gguf"));
  EXPECT_TRUE(original && gguf::quantize_file(*original, path, *gguf::find_mix("Q8_0"), 2));
  auto file = gguf::Gguf::open(path);
  auto backend = compute::Backend::open(watching_backend(), {2, ""});
  EXPECT_TRUE(file && backend);
  auto tokenizer = engine::load_tokenizer(*file);
  auto model = model::load_model(*file, {}, *backend, 2);
  EXPECT_TRUE(tokenizer && model);
  const auto tokens = tokenizer->encode(real_text(), text::SpecialTokens::kText);
  EXPECT_GE(tokens.size(), static_cast<size_t>(kTokens));
  std::vector<DeltaInput> inputs;
  std::vector<float> logits;
  for (int64_t t = 0; t < kTokens; t += kStep) {
    auto sequence = (*model)->create_sequence(kStep, {});
    EXPECT_TRUE(sequence);
    seen.calls = 0;
    const model::Chunk chunk{
        &*sequence, std::span(tokens).subspan(static_cast<size_t>(t), static_cast<size_t>(kStep))};
    EXPECT_TRUE((*model)->forward({&chunk, 1}, logits));
    inputs.push_back(first_head());
  }
  return inputs;
}

double relative_error(const std::vector<float>& actual, const std::vector<double>& expected) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(error / norm);
}

// Of this machine.
std::vector<std::string> levels() {
  std::vector<std::string> found;
  for (const char* level : {"scalar", "avx2", "avx-vnni", "avx512"})
    if (cpu::select_kernels(level)) found.push_back(level);
  return found;
}

struct Gates {
  const char* name;
  float write, decay;  // added before the sigmoid, and before the softplus
};

// In float, a strength or a decay that is so near to 1 is 1.
constexpr Gates kGates[] = {{"the model's own", 0, 0},
                            {"writes all, keeps all", 30, -20},
                            {"writes nothing, keeps all", -30, -20},
                            {"writes all, keeps nothing", 30, 50},
                            {"writes nothing, keeps nothing", -30, 50}};

TEST(DeltaDrift, FloatStaysByDoubleOverRealText) {
  const std::vector<DeltaInput> inputs = project_real_text();
  for (const Gates& gates : kGates) {
    std::vector<DeltaInput> text = inputs;
    for (DeltaInput& part : text) {
      for (size_t i = 0; i < part.ba.size(); i += 2) part.ba[i] += gates.write;
      part.bias[0] += gates.decay;
    }
    DeltaReference reference(text[0]);
    std::vector<std::vector<double>> expected;
    for (const DeltaInput& part : text) expected.push_back(reference.run_by_steps(part));
    for (const std::string& level : levels()) {
      auto backend = compute::Backend::open(cpu::cpu_backend(), {2, level});
      ASSERT_TRUE(backend);
      std::vector<float> state(reference.state().size());
      double worst = 0;
      // The level scalar, slow and with the bits of the others, takes a part of the text.
      const size_t parts = level == "scalar" ? 1 : text.size();
      for (size_t i = 0; i < parts; ++i) {
        const DeltaInput& part = text[i];
        std::vector<float> out(expected[i].size());
        const sluice_recurrent_span span{nullptr, state.data(), 0, kStep,
                                         static_cast<int64_t>(i) * kStep};
        ASSERT_EQ((*backend)->delta_rule(backend->get(), &span, 1, &part.heads, part.qkv.data(),
                                         part.ba.data(), part.a.data(), part.bias.data(), part.eps,
                                         out.data()),
                  0);
        ASSERT_TRUE(std::ranges::all_of(out, [](float x) { return std::isfinite(x); }));
        worst = std::max(worst, relative_error(out, expected[i]));
      }
      printf("%s, %s, %zu tokens: %.1e\n", gates.name, level.c_str(), parts * kStep, worst);
      EXPECT_LE(worst, kMost) << gates.name << ", " << level;
    }
  }
}

}  // namespace
}  // namespace sluice::golden
