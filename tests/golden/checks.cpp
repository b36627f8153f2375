// SPDX-License-Identifier: Apache-2.0
#include "checks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "compute/cpu/kernels.h"

namespace sluice::golden {

using engine::Engine;
using engine::EngineOptions;
using engine::Session;

std::unique_ptr<Engine> load(const std::string& path, quant::Type cache, int64_t ubatch,
                             const std::string& isa) {
  EngineOptions options;
  options.model_path = path;
  options.isa = isa;
  options.cache = {cache, cache};
  options.threads = 2;
  options.ubatch = ubatch;
  options.drafts = true;
  options.gpu_layers = 0;
  auto engine = Engine::load(options);
  if (!engine) throw std::runtime_error(engine.error().message);
  return std::move(*engine);
}

Run run(Engine& engine, const std::vector<int32_t>& tokens) {
  auto session = Session::create(engine);
  if (!session) throw std::runtime_error(session.error().message);
  Run out;
  out.hidden.resize(static_cast<size_t>(engine.model().config().layers) + 1);
  const auto dim = static_cast<size_t>(engine.model().config().dim);
  const Status status = session->feed_all_logits(
      tokens,
      [&](std::span<const float> rows) -> Status {
        out.logits.insert(out.logits.end(), rows.begin(), rows.end());
        return {};
      },
      [&](int64_t stage, const float* x, int64_t rows) {
        auto& to = out.hidden.at(static_cast<size_t>(stage));
        to.insert(to.end(), x, x + static_cast<size_t>(rows) * dim);
      });
  if (!status) throw std::runtime_error(status.error().message);
  return out;
}

std::vector<std::string> levels() {
  std::vector<std::string> found;
  for (const char* level : {"scalar", "avx2", "avx-vnni", "avx512"})
    if (cpu::select_kernels(level)) found.push_back(level);
  return found;
}

static std::vector<std::string> fast_levels() {
  std::vector<std::string> found = levels();
  if (found.size() > 1) found.erase(found.begin());
  return found;
}

void check_logits_of_every_position(const std::string& name) {
  for (const std::string& isa : levels()) {
    const auto engine = load(model_path(name + ".bf16.gguf"), quant::Type::kF32, 512, isa);
    const auto vocabulary = static_cast<size_t>(engine->model().config().vocabulary);
    for (const Case& c : read_cases(name)) {
      SCOPED_TRACE(c.name + ", " + isa);
      const auto errors = row_errors(run(*engine, c.tokens).logits,
                                     read_floats(name + "." + c.name + ".logits.f32"), vocabulary);
      printf("%s %s: mean %.1e median %.1e\n", isa.c_str(), c.name.c_str(), mean(errors),
             quantile(errors, 0.5));
      EXPECT_LE(quantile(errors, 0.5), 2e-3);
      EXPECT_LE(quantile(errors, 0.9), 5e-3);
    }
  }
}

void check_hidden_states_after_every_layer(const std::string& name) {
  for (const std::string& isa : fast_levels()) {
    const auto engine = load(model_path(name + ".bf16.gguf"), quant::Type::kF32, 512, isa);
    const auto dim = static_cast<size_t>(engine->model().config().dim);
    for (const Case& c : read_cases(name)) {
      const auto hidden = run(*engine, c.tokens).hidden;
      const auto expected = read_floats(name + "." + c.name + ".hidden.f32");
      const size_t stage_size = c.tokens.size() * dim;
      ASSERT_EQ(expected.size(), stage_size * hidden.size());
      for (size_t stage = 0; stage < hidden.size(); ++stage) {
        SCOPED_TRACE(c.name + " stage " + std::to_string(stage) + ", " + isa);
        ASSERT_EQ(hidden[stage].size(), stage_size);
        const auto from = expected.begin() + static_cast<std::ptrdiff_t>(stage * stage_size);
        const auto errors =
            row_errors(hidden[stage], {from, from + static_cast<std::ptrdiff_t>(stage_size)}, dim);
        EXPECT_LE(quantile(errors, 0.5), 2e-3);
        EXPECT_LE(quantile(errors, 0.9), 5e-3);
      }
    }
  }
}

void check_greedy_continuation(const std::string& name, int least) {
  for (const std::string& isa : fast_levels()) {
    const auto engine = load(model_path(name + ".bf16.gguf"), quant::Type::kF32, 512, isa);
    int compared = 0;
    for (const Case& c : read_cases(name)) {
      auto session = Session::create(*engine);
      ASSERT_TRUE(session && session->feed(c.tokens));
      for (size_t i = 0; i < c.greedy.size(); ++i) {
        const auto logits = session->logits();
        const auto best =
            static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
        if (c.margins[i] > 0.02f) {
          EXPECT_EQ(best, c.greedy[i])
              << c.name << " step " << i << ", margin " << c.margins[i] << ", " << isa;
          ++compared;
        }
        ASSERT_TRUE(session->feed({&c.greedy[i], 1}));
      }
    }
    EXPECT_GE(compared, least);
  }
}

void check_batch_size_does_not_change_the_answer(const std::string& name, const std::string& file) {
  const auto whole = load(model_path(file), quant::Type::kF16);
  const auto pieces = load(model_path(file), quant::Type::kF16, 7);
  for (const Case& c : read_cases(name))
    EXPECT_EQ(run(*whole, c.tokens).logits, run(*pieces, c.tokens).logits) << file << " " << c.name;
}

}  // namespace sluice::golden
