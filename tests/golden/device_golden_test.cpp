// SPDX-License-Identifier: Apache-2.0
// The tiny models on a GPU, with their experts on it, beside it, and in between: against the
// reference, and against the CPU. Skipped where the module or a device is missing. The module is
// looked for beside this program; SLUICE_TEST_MODELS replaces the folder of the models.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "checks.h"
#include "compute/load_backend.h"
#include "residency/device_tier.h"

namespace sluice::golden {
namespace {

using engine::Engine;
using engine::EngineOptions;

constexpr double kMiB = 1 << 20;

class DeviceGolden : public testing::Test {
 protected:
  void SetUp() override {
    if (auto backend = compute::load_backend("cuda", {}); !backend)
      GTEST_SKIP() << backend.error().message;
  }

  // `experts`: the share of them that the device has room for.
  static std::unique_ptr<Engine> on_device(const std::string& file, double experts,
                                           quant::Type cache = quant::Type::kF32) {
    EngineOptions options;
    options.model_path = model_path(file);
    options.cache = {cache, cache};
    options.threads = 2;
    options.gpu_layers = 1;
    options.context = 256;
    options.vram_bytes = uint64_t{4} << 30;
    options.on_device_plan = [](const engine::DevicePlan& plan, const engine::MemoryPlan&) {
      printf("%s\n", engine::describe(plan, 256).c_str());
    };
    auto all = Engine::load(options);
    if (!all) throw std::runtime_error(all.error().message);
    if (experts >= 1) return std::move(*all);
    const engine::DevicePlan& plan = *(*all)->device_plan();
    options.vram_bytes = plan.total() - plan.cache +
                         static_cast<uint64_t>(experts * static_cast<double>(plan.experts));
    all->reset();
    auto some = Engine::load(options);
    if (!some) throw std::runtime_error(some.error().message);
    return std::move(*some);
  }

  static void check_logits(const std::string& name, double experts) {
    const auto engine = on_device(name + ".bf16.gguf", experts);
    const auto vocabulary = static_cast<size_t>(engine->model().config().vocabulary);
    for (const Case& c : read_cases(name)) {
      SCOPED_TRACE(c.name);
      const auto errors = row_errors(run(*engine, c.tokens).logits,
                                     read_floats(name + "." + c.name + ".logits.f32"), vocabulary);
      printf("%s %s, %.0f %% of the experts: mean %.1e median %.1e\n", name.c_str(), c.name.c_str(),
             100 * experts, mean(errors), quantile(errors, 0.5));
      EXPECT_LE(quantile(errors, 0.5), 5e-3);
      EXPECT_LE(quantile(errors, 0.9), 5e-3);
    }
  }

  // KL divergence of the device's distribution from the CPU's, by position.
  static std::vector<double> divergences(const std::vector<float>& actual,
                                         const std::vector<float>& expected, size_t width) {
    std::vector<double> result;
    for (size_t r = 0; r < expected.size() / width; ++r) {
      const float* p = expected.data() + r * width;
      const float* q = actual.data() + r * width;
      const auto log_sum = [width](const float* x) {
        const float most = *std::max_element(x, x + width);
        double total = 0;
        for (size_t i = 0; i < width; ++i) total += std::exp(static_cast<double>(x[i]) - most);
        return most + std::log(total);
      };
      const double of_p = log_sum(p), of_q = log_sum(q);
      double sum = 0;
      for (size_t i = 0; i < width; ++i)
        sum += std::exp(p[i] - of_p) * ((p[i] - of_p) - (q[i] - of_q));
      result.push_back(sum);
    }
    return result;
  }
};

class DeviceArchitecture : public DeviceGolden, public testing::WithParamInterface<const char*> {};

TEST_P(DeviceArchitecture, LogitsOfEveryPosition) {
  for (const double experts : {1.0, 0.4, 0.0}) check_logits(GetParam(), experts);
}

TEST_P(DeviceArchitecture, GreedyContinuation) {
  const std::string name = GetParam();
  for (const double experts : {1.0, 0.4}) {
    const auto engine = on_device(name + ".bf16.gguf", experts);
    int compared = 0;
    for (const Case& c : read_cases(name)) {
      auto session = engine::Session::create(*engine);
      ASSERT_TRUE(session && session->feed(c.tokens));
      for (size_t i = 0; i < c.greedy.size(); ++i) {
        const auto logits = session->logits();
        const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
        if (c.margins[i] > 0.02f) {
          EXPECT_EQ(best, c.greedy[i]) << c.name << " step " << i;
          ++compared;
        }
        ASSERT_TRUE(session->feed({&c.greedy[i], 1}));
      }
    }
    EXPECT_GE(compared, 60);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DeviceArchitecture,
                         testing::Values("qwen3moe-tiny", "qwen3next-tiny"),
                         [](const auto& name) { return std::string(name.param).substr(0, 8); });

// A router's near-tie can choose another expert at a position of these small random models, and one
// such position outweighs all others in the mean: judged by nine of ten positions.
TEST_F(DeviceGolden, QuantisedFilesAgreeWithTheCpu) {
  for (const char* type : {"Q4_K_M", "Q2_K", "Q6_K", "IQ4_XS", "IQ3_S", "MXFP4_MOE"}) {
    const std::string file = std::string("qwen3moe-tiny.") + type + ".gguf";
    const auto cpu = load(model_path(file), quant::Type::kF16);
    const auto vocabulary = static_cast<size_t>(cpu->model().config().vocabulary);
    for (const double experts : {1.0, 0.4}) {
      const auto device = on_device(file, experts, quant::Type::kF16);
      for (const Case& c : read_cases("qwen3moe-tiny")) {
        const auto kl =
            divergences(run(*device, c.tokens).logits, run(*cpu, c.tokens).logits, vocabulary);
        printf("%s %s, %.0f %%: KL mean %.1e, nine of ten %.1e\n", type, c.name.c_str(),
               100 * experts, mean(kl), quantile(kl, 0.9));
        EXPECT_LE(quantile(kl, 0.9), 1e-3) << type << " " << c.name;
      }
    }
  }
}

TEST_F(DeviceGolden, ThePlanIsKept) {
  const auto engine = on_device("qwen3moe-tiny.Q4_K_M.gguf", 0.4);
  const engine::DevicePlan& plan = *engine->device_plan();
  const residency::DeviceTier& tier = *engine->model().device_experts();
  EXPECT_LE(tier.bytes(), plan.cache);
  EXPECT_GT(tier.bytes() + kMiB, plan.cache / 2);
}

}  // namespace
}  // namespace sluice::golden
