// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "report/compose.h"
#include "report/numbers.h"

namespace sluice::report {
namespace {

// Tokens per second. Silent reading is about 4 words a second, some 5 or 6 tokens.
constexpr double kFasterThanReading = 8, kReading = 3;
constexpr double kLongWait = 10;  // seconds to the first token
constexpr double kWaits = 0.25;   // share of the time, for the disk
constexpr double kBusy = 0.8;     // share of the threads
constexpr double kSwapped = 64.0 * (1 << 20);
constexpr double kSameSpeed = 0.1;
constexpr size_t kMostFailures = 4;

struct Best {
  const Case* one = nullptr;
  double generation = kUnknown;
};

class Conclusion {
 public:
  Conclusion(const Report& report, const std::vector<Earlier>& earlier, Language say)
      : report_(report), earlier_(earlier), say_(say) {}

  std::vector<std::string> sentences() {
    how_many();
    for (size_t model = 0; model < report_.models.size(); ++model) of_model(model);
    which_model();
    memory();
    failures();
    predictions();
    for (const Earlier& one : earlier_) compare(one);
    return std::move(sentences_);
  }

 private:
  template <typename... Args>
  void add(fmt::format_string<Args...> en, fmt::format_string<Args...> zh, Args&&... args) {
    sentences_.push_back(say_(en, zh, std::forward<Args>(args)...));
  }
  const std::string& model_name(const Case& one) const { return report_.models[one.model].name; }
  const std::string& setting_name(const Case& one) const {
    return report_.settings[one.setting].name;
  }

  void how_many() {
    const size_t planned = report_.models.size() * report_.settings.size();
    const auto whole = std::count_if(report_.cases.begin(), report_.cases.end(),
                                     [](const Case& one) { return one.failures.empty(); });
    if (!report_.complete)
      add("The study was stopped before its end: {} of {} cases began.",
          "本次测试未全部完成：共 {1} 个用例，已开始 {0} 个。", report_.cases.size(), planned);
    if (report_.cases.empty()) return;
    if (static_cast<size_t>(whole) == report_.cases.size())
      add("All {} cases ran to their end.", "{} 个用例全部运行成功。", report_.cases.size());
    else
      add("{} of {} cases ran to their end.", "{1} 个用例中有 {0} 个运行成功。", whole,
          report_.cases.size());
  }

  Best best_of(size_t model) const {
    Best best;
    for (const Case& one : report_.cases) {
      const double generation = generation_of(one);
      if (one.model == model && known(generation) && !(best.generation >= generation))
        best = {&one, generation};
    }
    return best;
  }

  std::string verdict(double generation) const {
    if (generation >= kFasterThanReading)
      return say_("faster than people read", "快于人的阅读速度");
    if (generation >= kReading) return say_("about as fast as people read", "与人的阅读速度相当");
    return say_("slower than people read, for work that can wait",
                "慢于人的阅读速度，适合可以等待的任务");
  }

  void of_model(size_t model) {
    const Best best = best_of(model);
    const std::string& name = report_.models[model].name;
    if (!best.one) {
      const bool began = std::any_of(report_.cases.begin(), report_.cases.end(),
                                     [&](const Case& one) { return one.model == model; });
      if (began)
        add("{} gave no speed in any setting.", "{} 在所有设置下都没有得到速度数据。", name);
      return;
    }
    add("{} generates {} tokens/s at best ({}): {}.", "{} 的最快生成速度为 {} token/s（{}）：{}。",
        name, number_text(best.generation), setting_name(*best.one), verdict(best.generation));
    const Case& one = *best.one;
    const double prompt = one.speeds ? one.speeds->prompt : kUnknown;
    const double first = one.answer ? one.answer->first_token : kUnknown;
    if (known(prompt) && known(first))
      add("It reads prompts at {} tokens/s there, and the answer to the standard question begins "
          "after {}{}.",
          "该设置下提示词处理速度为 {} token/s，回答标准问题的首 token 延迟为 {}{}。",
          number_text(prompt), seconds_text(first),
          first > kLongWait ? say_(", a long wait", "，等待时间较长") : std::string());
    binding(one);
    spread(model, best);
  }

  // What the best case waited for.
  void binding(const Case& one) {
    const Peaks p = peaks(one);
    if (one.speeds && one.speeds->waiting >= kWaits) {
      const double share = one.speeds->experts_in_memory;
      add("While generating it waited for the disk in {} of the time, with {} of the experts asked "
          "for in memory: more memory or a smaller quantisation helps most.",
          "生成时有 {} 的时间在等待磁盘，所需专家有 {} 在内存中：增加内存或采用更小的量化最有效。",
          percent_text(100 * one.speeds->waiting), percent_text(100 * share));
    } else if (p.gpu_load >= 100 * kBusy) {
      add("The GPU was busy in {} of the time and binds.", "GPU 忙碌时间占 {}，是瓶颈。",
          percent_text(p.gpu_load));
    } else if (report_.machine.compute_threads > 0 &&
               p.cpu_load >= 100 * kBusy * report_.machine.compute_threads) {
      add("The processor and its memory bind: {} of CPU load, 100 % being one core.",
          "处理器及其内存带宽是瓶颈：CPU 负载 {}（100 % 为一个核心）。", percent_text(p.cpu_load));
    }
  }

  // What settings change.
  void spread(size_t model, const Best& best) {
    const Case* slowest = nullptr;
    double least = best.generation;
    for (const Case& one : report_.cases) {
      const double generation = generation_of(one);
      if (one.model == model && generation < least) {
        least = generation;
        slowest = &one;
      }
    }
    if (slowest && best.generation > least * (1 + kSameSpeed))
      add("Settings matter: {} is {} times as fast as {}.",
          "设置影响明显：{0} 的速度是 {2} 的 {1} 倍。", setting_name(*best.one),
          number_text(best.generation / least), setting_name(*slowest));
  }

  void which_model() {
    struct Candidate {
      size_t model;
      double generation;
    };
    std::vector<Candidate> all;
    for (size_t model = 0; model < report_.models.size(); ++model)
      if (const Best best = best_of(model); best.one) all.push_back({model, best.generation});
    if (all.size() < 2) return;
    const auto size = [&](const Candidate& c) {
      const Model& model = report_.models[c.model];
      return model.parameters > 0 ? model.parameters : model.file_bytes;
    };
    const auto largest_usable =
        std::max_element(all.begin(), all.end(), [&](const Candidate& a, const Candidate& b) {
          const bool usable_a = a.generation >= kReading, usable_b = b.generation >= kReading;
          return usable_a != usable_b ? usable_b : size(a) < size(b);
        });
    if (largest_usable->generation < kReading) return;
    add("{} is the largest of the models that generate at reading speed here.",
        "{} 是本机上能以阅读速度生成的最大模型。", report_.models[largest_usable->model].name);
  }

  void memory() {
    double resident = kUnknown, swapped = kUnknown, own_swap = kUnknown, vram = kUnknown;
    for (const Case& one : report_.cases) {
      const Peaks p = peaks(one);
      if (!(resident >= p.resident) && known(p.resident)) resident = p.resident;
      if (!(swapped >= p.swap_growth) && known(p.swap_growth)) swapped = p.swap_growth;
      if (!(own_swap >= p.swap) && known(p.swap)) own_swap = p.swap;
      if (!(vram >= p.vram) && known(p.vram)) vram = p.vram;
    }
    if (!known(resident)) return;
    std::string text =
        say_("Memory went up to {} of {}", "内存峰值为 {}（共 {}）", bytes_text(resident),
             bytes_text(static_cast<double>(report_.machine.memory)));
    if (known(vram)) text += say_(", the GPU's to {}", "，显存峰值为 {}", bytes_text(vram));
    if (own_swap > kSwapped || swapped > kSwapped)
      text += say_("; up to {} were swapped, which makes everything slow: give it less with --ram.",
                   "；最多有 {} 被换出，会明显变慢：请用 --ram 减少用量。",
                   bytes_text(std::fmax(own_swap, swapped)));
    else
      text += say_("; nothing was swapped.", "；没有发生换页。");
    sentences_.push_back(std::move(text));
  }

  void failures() {
    size_t told = 0, more = 0;
    for (const Case& one : report_.cases) {
      const Failure* last = nullptr;
      for (const Failure& failure : one.failures) {
        // Both measurements of a case usually fail alike.
        if (last && last->cause == failure.cause) continue;
        last = &failure;
        if (told == kMostFailures) {
          ++more;
          continue;
        }
        ++told;
        add("{}, {}: {} ({}).", "{}，{}：{}（{}）。", model_name(one), setting_name(one),
            cause_text(failure.cause, say_), failure.message);
      }
    }
    if (more > 0) add("{} more failures are in the log below.", "另有 {} 个失败见下方日志。", more);
  }

  void predictions() {
    std::vector<double> speed, memory;
    for (const Case& one : report_.cases) {
      if (!one.predicted) continue;
      const double error = error_of(one.predicted->generation, generation_of(one));
      if (known(error)) speed.push_back(std::abs(error));
      const double off = error_of(one.predicted->memory, peaks(one).resident);
      if (known(off)) memory.push_back(off);
    }
    if (speed.empty()) return;
    std::string text =
        say_("The prediction of the generation speed was off by {} in the median of {} cases",
             "生成速度预测误差的中位数为 {}（{} 个用例）", percent_text(100 * median(speed)),
             speed.size());
    if (!memory.empty()) {
      const double under = *std::min_element(memory.begin(), memory.end());
      text += under < 0 ? say_("; memory was predicted up to {} too low.", "；内存最多低估 {}。",
                               percent_text(-100 * under))
                        : say_("; memory was never predicted too low.", "；内存没有低估。");
    } else {
      text += say_(".", "。");
    }
    sentences_.push_back(std::move(text));
  }

  void compare(const Earlier& earlier) {
    std::vector<double> ratios;
    for (const Case& one : report_.cases)
      if (const Case* before = counterpart(report_, one, earlier.report)) {
        const double ratio = generation_of(one) / generation_of(*before);
        if (known(ratio) && std::isfinite(ratio)) ratios.push_back(ratio);
      }
    if (ratios.empty()) {
      add("{} has no case in common with this report.", "{} 与本报告没有相同的用例。",
          earlier.name);
      return;
    }
    const double middle = median(ratios);
    const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
    std::string text =
        std::abs(middle - 1) <= kSameSpeed
            ? say_("Against {}: as fast as then", "与 {} 相比：速度相同", earlier.name)
        : middle > 1 ? say_("Against {}: {} times as fast", "与 {} 相比：速度为其 {} 倍",
                            earlier.name, number_text(middle))
                     : say_("Against {}: slower, {} of the speed", "与 {} 相比：变慢，为其 {} 倍",
                            earlier.name, number_text(middle));
    text += say_(" generating (median of {} cases, {} to {}).",
                 "（生成，{} 个用例的中位数，{} 至 {}）。", ratios.size(), number_text(*least),
                 number_text(*most));
    if (earlier.report.machine.cpu != report_.machine.cpu ||
        earlier.report.machine.memory != report_.machine.memory)
      text += say_(" It is from another machine.", "该报告来自另一台机器。");
    sentences_.push_back(std::move(text));
  }

  const Report& report_;
  const std::vector<Earlier>& earlier_;
  Language say_;
  std::vector<std::string> sentences_;
};

}  // namespace

double generation_of(const Case& one) {
  if (one.speeds && known(one.speeds->generation)) return one.speeds->generation;
  return one.answer ? one.answer->generation_rate : kUnknown;
}

const Case* counterpart(const Report& report, const Case& one, const Report& other) {
  for (const Case& candidate : other.cases)
    if (other.models[candidate.model].name == report.models[one.model].name &&
        other.settings[candidate.setting].name == report.settings[one.setting].name)
      return &candidate;
  return nullptr;
}

double error_of(double predicted, double measured) {
  return measured > 0 ? predicted / measured - 1 : kUnknown;
}

double median(std::vector<double> values) {
  if (values.empty()) return kUnknown;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::string cause_text(Cause cause, Language say) {
  switch (cause) {
    case Cause::kRefused:
      return say("refused", "拒绝运行");
    case Cause::kOutOfMemory:
      return say("out of memory", "内存不足");
    case Cause::kKilled:
      return say("killed", "被终止");
    case Cause::kCrashed:
      return say("crashed", "崩溃");
    case Cause::kTimeout:
      return say("took too long", "超时");
    case Cause::kInterrupted:
      return say("stopped", "被用户停止");
    case Cause::kNoResult:
      return say("no result", "没有结果");
    case Cause::kNotStarted:
      return say("not started", "未能启动");
  }
  return "";
}

std::vector<std::string> conclude(const Report& report, const std::vector<Earlier>& earlier,
                                  Language say) {
  return Conclusion(report, earlier, say).sentences();
}

}  // namespace sluice::report
