// SPDX-License-Identifier: Apache-2.0
#include "report/study.h"

#include <signal.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "report/prediction.h"

namespace sluice::report {
namespace {

using Clock = std::chrono::steady_clock;

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%FT%TZ", &parts)};
}

// For a shell, where that is needed.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) ||
           (c != 0 &&
            std::string_view("_-./:=,+@%").find(static_cast<char>(c)) != std::string_view::npos);
  });
  if (plain) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string command_line(const std::vector<std::string>& arguments) {
  std::string text = "sluice";
  for (size_t i = 1; i < arguments.size(); ++i) text += fmt::format(" {}", quoted(arguments[i]));
  return text;
}

void add_flags(const Setting& setting, bool bench, std::vector<std::string>& arguments) {
  for (const auto& [name, value] : setting.flags) {
    const SettingFlag* flag = find_setting_flag(name);
    if (!flag) continue;
    const std::string& spelling = bench ? flag->bench : flag->run;
    if (spelling.empty()) continue;
    arguments.push_back(spelling);
    // llama-bench knows numbers only.
    if (bench && name == "n-gpu-layers" && (value == "auto" || value == "all"))
      arguments.push_back(value == "auto" ? "-1" : "99");
    else
      arguments.push_back(value);
  }
}

std::vector<std::string> bench_arguments(const StudyOptions& options, const Report& report,
                                         const Model& model, const Setting& setting) {
  std::vector<std::string> arguments = {options.program,
                                        "bench",
                                        "-m",
                                        model.path,
                                        "-p",
                                        std::to_string(report.prompt_tokens),
                                        "-n",
                                        std::to_string(report.generated_tokens),
                                        "-r",
                                        std::to_string(report.repetitions)};
  add_flags(setting, true, arguments);
  for (const char* more : {"--experts", "--progress", "-lv", "3", "-o", "json"})
    arguments.emplace_back(more);
  return arguments;
}

// The same seed every time: the answer, and with it the work, is the same.
std::vector<std::string> run_arguments(const StudyOptions& options, const Report& report,
                                       const Model& model, const Setting& setting) {
  std::vector<std::string> arguments = {options.program,
                                        "run",
                                        "-m",
                                        model.path,
                                        "-p",
                                        report.question,
                                        "-n",
                                        std::to_string(report.answer_tokens),
                                        "--seed",
                                        "1",
                                        "--no-escape",
                                        "--no-display-prompt",
                                        "-lv",
                                        "3"};
  add_flags(setting, false, arguments);
  return arguments;
}

// "... memory 7.90 of 8.00 GiB: weights ..." without what the log puts before it.
void collect_plans(const Outcome& outcome, std::vector<std::string>& plans) {
  for (const Line& line : outcome.errors)
    for (const char* start : {"memory ", "VRAM "}) {
      const size_t at = line.text.find(start);
      if (at == std::string::npos || line.text.find(" GiB: weights", at) == std::string::npos)
        continue;
      std::string plan = line.text.substr(at);
      if (std::find(plans.begin(), plans.end(), plan) == plans.end())
        plans.push_back(std::move(plan));
      break;
    }
}

class CaseRunner {
 public:
  CaseRunner(const StudyOptions& options, const Report& report, const Model& model,
             const Setting& setting, Case& one)
      : options_(options), report_(report), setting_(setting), model_(model), case_(one) {}

  // nullopt: it failed, and the case says why.
  Result<std::optional<Outcome>> run(const std::string& stage,
                                     const std::vector<std::string>& arguments) {
    std::optional<MemoryGroup> group;
    if (setting_.memory_limit > 0) {
      auto made = MemoryGroup::create(setting_.memory_limit);
      if (!made) return fail(std::move(made.error()));
      group.emplace(std::move(*made));
    }
    ProbeOptions probe = options_.probe;
    probe.gpu = gpu_of(setting_, options_.visible_gpus);
    Recorder recorder(probe, origin_);
    Command command;
    command.arguments = arguments;
    command.timeout = report_.timeout;
    command.group = group ? &*group : nullptr;
    command.interrupted = options_.interrupted;
    command.started = [&](pid_t process) { recorder.start(process); };
    command.origin = origin_;
    Result<Outcome> outcome = options_.run(command);
    Recording recording;
    recording.stage = stage;
    recording.samples = recorder.stop();
    if (!outcome) {
      case_.failures.push_back({stage, Cause::kNotStarted, outcome.error().message, -1, 0, 0, {}});
      return std::nullopt;
    }
    recording.began = outcome->began;
    recording.ended = outcome->ended;
    recording.peak_resident = outcome->peak_resident;
    recording.major_faults = outcome->major_faults;
    case_.recordings.push_back(std::move(recording));
    collect_plans(*outcome, case_.plans);
    if (!outcome->succeeded()) {
      case_.failures.push_back(explain(stage, *outcome, setting_, report_.timeout));
      return std::nullopt;
    }
    return std::optional<Outcome>(std::move(*outcome));
  }

  void no_result(const std::string& stage, const Error& error) {
    const Recording& recording = case_.recordings.back();
    case_.failures.push_back(
        {stage, Cause::kNoResult, error.message, 0, 0, recording.ended - recording.began, {}});
  }
  bool stopped() const { return options_.interrupted && *options_.interrupted; }

 private:
  const StudyOptions& options_;
  const Report& report_;
  const Setting& setting_;
  const Model& model_;
  Case& case_;
  Clock::time_point origin_ = Clock::now();
};

Status run_case(const StudyOptions& options, Report& report, size_t index) {
  Case& one = report.cases[index];
  Model& model = report.models[one.model];
  const Setting& setting = report.settings[one.setting];
  one.began = utc_now();
  CaseRunner runner(options, report, model, setting, one);

  const std::vector<std::string> bench = bench_arguments(options, report, model, setting);
  const std::vector<std::string> run = run_arguments(options, report, model, setting);
  one.command = command_line(run);
  if (report.prompt_tokens + report.generated_tokens > 0) {
    SLUICE_ASSIGN(const std::optional<Outcome> outcome, runner.run("bench", bench));
    std::vector<std::string> tests;
    if (report.prompt_tokens > 0) tests.push_back(fmt::format("pp{}", report.prompt_tokens));
    if (report.generated_tokens > 0) tests.push_back(fmt::format("tg{}", report.generated_tokens));
    if (outcome) {
      one.recordings.back().phases = bench_phases(*outcome, tests);
      if (auto speeds = parse_speeds(outcome->output, model))
        one.speeds = std::move(*speeds);
      else
        runner.no_result("bench", speeds.error());
    }
  }
  if (runner.stopped()) return {};
  SLUICE_ASSIGN(const std::optional<Outcome> outcome, runner.run("run", run));
  if (outcome) {
    std::vector<Phase>& phases = one.recordings.back().phases;
    phases.push_back({outcome->began, "load"});
    if (outcome->first_output >= 0) phases.push_back({outcome->first_output, "answer"});
    if (auto answer = parse_answer(*outcome))
      one.answer = std::move(*answer);
    else
      runner.no_result("run", answer.error());
  }
  return {};
}

std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name ? fmt::format("SIG{}", name) : fmt::format("signal {}", number);
}

}  // namespace

const std::vector<SettingFlag>& setting_flags() {
  static const std::vector<SettingFlag> all = {
      {"ram", "--ram", "--ram", "--ram"},
      {"vram", "--vram", "--vram", "--vram"},
      {"n-gpu-layers", "-ngl", "-ngl", "-ngl"},
      {"n-cpu-moe", "-ncmoe", "-ncmoe", "-ncmoe"},
      {"threads", "-t", "-t", "-t"},
      {"ctx-size", "-c", "", "-c"},
      {"ubatch-size", "-ub", "-ub", "-ub"},
      {"cache-type-k", "-ctk", "-ctk", "-ctk"},
      {"cache-type-v", "-ctv", "-ctv", "-ctv"},
      {"load-mode", "-lm", "-lm", "-lm"},
      {"main-gpu", "-mg", "-mg", "-mg"},
      {"isa", "--isa", "--isa", "--isa"},
  };
  return all;
}

const SettingFlag* find_setting_flag(const std::string& name) {
  for (const SettingFlag& flag : setting_flags())
    if (name == flag.name || name == flag.run || fmt::format("-{}", name) == flag.run) return &flag;
  return nullptr;
}

int gpu_of(const Setting& setting, const std::string& visible) {
  int64_t device = 0;
  for (const auto& [name, value] : setting.flags)
    if (name == "main-gpu") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), device);
      if (error != std::errc() || end != value.data() + value.size() || device < 0) return -1;
    }
  if (visible.empty()) return device > 1024 ? -1 : static_cast<int>(device);
  // CUDA counts the devices of its variable, up to the first entry that is none.
  std::string_view rest = visible;
  for (;; --device) {
    const std::string_view entry = rest.substr(0, rest.find(','));
    int number = -1;
    const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), number);
    if (error != std::errc() || end != entry.data() + entry.size() || number < 0) return -1;
    if (device == 0) return number;
    if (entry.size() == rest.size()) return -1;
    rest.remove_prefix(entry.size() + 1);
  }
}

std::string name_of(const Setting& setting) {
  std::string name;
  for (const auto& [flag, value] : setting.flags) {
    const SettingFlag* known_flag = find_setting_flag(flag);
    if (!name.empty()) name += ' ';
    name += fmt::format("{} {}", known_flag ? known_flag->short_name : flag, value);
  }
  if (setting.memory_limit > 0) {
    if (!name.empty()) name += ' ';
    name += fmt::format("--memory {:.3g}G",
                        static_cast<double>(setting.memory_limit) / (uint64_t{1} << 30));
  }
  return name.empty() ? "default" : name;
}

Failure explain(const std::string& stage, const Outcome& outcome, const Setting& setting,
                double timeout) {
  Failure failure;
  failure.stage = stage;
  failure.exit_code = outcome.exit_code;
  failure.signal = outcome.signal;
  failure.after = outcome.ended - outcome.began;
  constexpr size_t kLastLines = 8;
  const size_t from = outcome.errors.size() - std::min(outcome.errors.size(), kLastLines);
  for (size_t i = from; i < outcome.errors.size(); ++i)
    failure.last_lines.push_back(outcome.errors[i].text);
  const std::string name = signal_name(outcome.signal);
  if (outcome.interrupted) {
    failure.cause = Cause::kInterrupted;
    failure.message = "stopped by the user";
  } else if (outcome.timed_out) {
    failure.cause = Cause::kTimeout;
    failure.message = fmt::format("stopped after {:.0f} s; --timeout gives it more", timeout);
  } else if (outcome.out_of_memory) {
    failure.cause = Cause::kOutOfMemory;
    failure.message =
        setting.memory_limit > 0
            ? fmt::format("killed by the kernel: more than the {:.2f} GiB of its control group",
                          static_cast<double>(setting.memory_limit) / (uint64_t{1} << 30))
            : "killed by the kernel: the machine's memory ran out; --ram sets a limit";
  } else if (outcome.signal == SIGKILL || outcome.signal == SIGTERM || outcome.signal == SIGHUP ||
             outcome.signal == SIGINT) {
    failure.cause = Cause::kKilled;
    failure.message = fmt::format("killed by {}, which somebody sent", name);
  } else if (outcome.signal != 0) {
    failure.cause = Cause::kCrashed;
    failure.message = fmt::format("crashed with {}", name);
  } else {
    failure.cause = Cause::kRefused;
    const std::string prefix = fmt::format("sluice {}: ", stage);
    for (const Line& line : outcome.errors)
      if (line.text.starts_with(prefix) && !line.text.starts_with(prefix + "benchmark "))
        failure.message = line.text.substr(prefix.size());
    if (failure.message.empty())
      failure.message = fmt::format("exit code {} without a message", outcome.exit_code);
  }
  return failure;
}

std::vector<Phase> bench_phases(const Outcome& outcome, const std::vector<std::string>& tests) {
  std::vector<Phase> phases = {{outcome.began, "load"}};
  for (const Line& line : outcome.errors) {
    size_t number = 0;
    int used = 0;
    if (std::sscanf(line.text.c_str(), "sluice bench: benchmark %zu/%*u: %n", &number, &used) < 1 ||
        used == 0)
      continue;
    const std::string what = line.text.substr(static_cast<size_t>(used));
    if (what == "starting") continue;
    const std::string name = what.starts_with("warmup")              ? "warm-up"
                             : number >= 1 && number <= tests.size() ? tests[number - 1]
                                                                     : what;
    if (phases.back().name != name) phases.push_back({line.time, name});
  }
  return phases;
}

Status run_study(const StudyOptions& options, Report& report) {
  const auto tell = [&](const std::string& text) {
    if (options.tell) options.tell(text);
  };
  report.complete = false;
  // Once, and outside of the cases' control groups, whose limits would be measured too.
  if (options.predict)
    if (const Status measured = measure_machine(options, report.models); !measured)
      tell(fmt::format("the machine could not be measured: {} (nothing is predicted)",
                       measured.error().message));
  const size_t all = report.models.size() * report.settings.size();
  for (size_t model = 0; model < report.models.size(); ++model)
    for (size_t setting = 0; setting < report.settings.size(); ++setting) {
      if (options.interrupted && *options.interrupted) return {};
      Case one;
      one.model = model;
      one.setting = setting;
      report.cases.push_back(one);
      tell(fmt::format("case {} of {}: {}, {}", report.cases.size(), all, report.models[model].name,
                       report.settings[setting].name));
      if (options.predict) {
        report.cases.back().predicted =
            ask_plan(options, report.models[model], report.settings[setting], report.prompt_tokens);
        if (!report.cases.back().predicted) tell("sluice plan predicts nothing of it");
      }
      SLUICE_TRY(run_case(options, report, report.cases.size() - 1));
      for (const Failure& failure : report.cases.back().failures)
        tell(fmt::format("{} failed ({}): {}", failure.stage, cause_name(failure.cause),
                         failure.message));
      report.complete =
          report.cases.size() == all && !(options.interrupted && *options.interrupted);
      if (options.keep) SLUICE_TRY(options.keep(report));
    }
  return {};
}

}  // namespace sluice::report
