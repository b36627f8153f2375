// SPDX-License-Identifier: Apache-2.0
#include "apps/learning.h"

#include <algorithm>

#include "base/log.h"
#include "machine/measure.h"
#include "plan/plan.h"
#include "storage/cache_folder.h"

namespace sluice::apps {
namespace {

constexpr double kLeastSeconds = 0.2;  // shorter ones say more about the clock
constexpr int kUsualPrompt = 512, kUsualAnswer = 128;
constexpr double kLeastShare = 0.15;  // of a step: what takes less is not told by it

}  // namespace

struct Learning::State {
  std::string folder;
  const engine::Engine* engine;
  machine::Machine machine;
  engine::Placement placement;
  plan::Work work;
  const machine::DiskTimes* disk = nullptr;
  plan::Corrections corrections;
  bool learned = false;
};

Learning::Learning(std::unique_ptr<State> state) : state_(std::move(state)) {}
Learning::~Learning() = default;
Learning::Learning(Learning&& other) noexcept = default;
Learning& Learning::operator=(Learning&& other) noexcept = default;

Learning Learning::of(const engine::Engine& engine) {
  const engine::EngineOptions& o = engine.options();
  // Another level than the one that was measured.
  if (!o.isa.empty()) return Learning(nullptr);
  auto machine = machine::known_machine(o.reading.cache_folder);
  if (!machine) return Learning(nullptr);
  auto state = std::make_unique<State>();
  state->folder = o.reading.cache_folder;
  state->engine = &engine;
  state->machine = std::move(*machine);
  state->placement.memory = engine.plan();
  state->placement.device = engine.device_plan();
  if (state->placement.device && !state->machine.accelerator) return Learning(nullptr);
  state->work = plan::work_of(engine.file(), engine.model().config());
  state->corrections = plan::read_corrections(state->folder, state->machine.identity);
  const engine::MemoryPlan& plan = engine.plan();
  if (plan.experts > 0 && !plan.all_experts()) {
    std::vector<std::string> paths;
    for (const auto& file : engine.file().files()) paths.push_back(file->name());
    const gguf::Tensor* part = engine.file().find_tensor("blk.0.ffn_down_exps.weight");
    const uint64_t bytes =
        part ? part->bytes / static_cast<uint64_t>(std::max<int64_t>(state->work.experts, 1)) : 0;
    const bool buffered = engine.reading().queue.mode == storage::ReadMode::kBuffered;
    state->disk =
        machine::known_disk(state->machine, paths, static_cast<uint32_t>(bytes), buffered);
    if (!state->disk) return Learning(nullptr);
  }
  return Learning(std::move(state));
}

std::optional<UsualSpeeds> Learning::usual(int64_t ubatch) const {
  if (!state_) return std::nullopt;
  const State& s = *state_;
  const plan::Predictor predictor(s.work, s.machine, s.placement, s.disk, s.corrections,
                                  {s.engine->options().threads, ubatch});
  return UsualSpeeds{kUsualPrompt / predictor.prompt(kUsualPrompt, 0).total,
                     kUsualAnswer / predictor.generation(kUsualAnswer, 0).total};
}

std::optional<Compared> Learning::measured(int64_t prompt, int64_t generated, int64_t position,
                                           int64_t ubatch, double seconds, double stalled) {
  if (!state_ || seconds < kLeastSeconds || (prompt > 0) == (generated > 0)) return std::nullopt;
  State& s = *state_;
  const plan::Predictor predictor(s.work, s.machine, s.placement, s.disk, s.corrections,
                                  {s.engine->options().threads, ubatch});
  const plan::StepTime predicted =
      prompt > 0 ? predictor.prompt(prompt, position) : predictor.generation(generated, position);
  const auto tokens = static_cast<double>(prompt + generated);
  spdlog::info("{} tokens/s were predicted, {} measured ({:+.0f} %)",
               fmt::format("{:.1f}", tokens / predicted.total),
               fmt::format("{:.1f}", tokens / seconds), 100 * (predicted.total / seconds - 1));
  const bool device = s.placement.device && predicted.device > predicted.processor;
  const plan::Kind kind = device       ? plan::Kind::kDevice
                          : prompt > 0 ? plan::Kind::kPrefill
                                       : plan::Kind::kDecode;
  const double other = predicted.total - predicted.disk;
  if (other > kLeastShare * predicted.total) s.corrections.of(kind).learn(other, seconds - stalled);
  if (predicted.disk > kLeastShare * predicted.total && stalled > 0)
    s.corrections.of(plan::Kind::kDisk).learn(predicted.disk, stalled);
  s.learned = true;
  return Compared{tokens / predicted.total, tokens / seconds};
}

void Learning::remember() {
  if (!state_ || !state_->learned) return;
  state_->learned = false;
  const Status written = storage::replace_small_file(plan::remembered_corrections(state_->folder),
                                                     plan::format_corrections(state_->corrections));
  if (!written) spdlog::warn("{} (predictions stay as they are)", written.error().message);
}

}  // namespace sluice::apps
