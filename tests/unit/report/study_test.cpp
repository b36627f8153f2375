// SPDX-License-Identifier: Apache-2.0
// The study with made-up processes.
#include "report/study.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "../temp_folder.h"
#include "report/prediction.h"
#include "report/study_file.h"

namespace sluice::report {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kBench = R"([
  {"model_type": "qwen3moe 1B Q4_K", "model_n_params": 123, "backend_description": "CPU, avx2",
   "n_prompt": 512, "n_gen": 0, "avg_ts": 200.5, "stddev_ts": 2, "load_ns": 1500000000,
   "samples_ns": [1000, 1000], "experts_ram": 1, "experts_ssd": 0, "experts_stalled_ns": 100},
  {"model_type": "qwen3moe 1B Q4_K", "n_prompt": 0, "n_gen": 128, "avg_ts": 40.25, "stddev_ts": 0.5,
   "load_ns": 1500000000, "samples_ns": [1000, 3000], "experts_ram": 75, "experts_ssd": 25,
   "experts_read_gbs": 1.5, "experts_stalled_ns": 1000}])";
constexpr const char* kRun =
    "[ Prompt: 27 tokens, 90.5 t/s | Generation: 200 tokens, 39.5 t/s | First token: 0.310 s ]";

Outcome good_bench() {
  Outcome o;
  o.exit_code = 0;
  o.began = 1;
  o.ended = 9;
  o.output = kBench;
  o.errors = {{1.5, "sluice bench: benchmark 1/2: starting"},
              {3, "sluice bench: benchmark 1/2: warmup prompt run"},
              {4, "sluice bench: benchmark 1/2: prompt run 1/2"},
              {5, "sluice bench: benchmark 1/2: prompt run 2/2"},
              {6, "sluice bench: benchmark 2/2: starting"},
              {6.1, "sluice bench: benchmark 2/2: warmup generation run"},
              {7, "sluice bench: benchmark 2/2: generation run 1/2"}};
  return o;
}

Outcome good_run() {
  Outcome o;
  o.exit_code = 0;
  o.began = 10;
  o.ended = 20;
  o.first_output = 12;
  o.output = "未来\n";
  o.errors = {
      {10.5, "[info] memory 7.90 of 8.00 GiB: weights 1.00, experts 6.00"},
      {19, "[ Experts: 88.0 % of 500 were in memory | read 1.00 GiB at 0.50 GiB/s | waited 1 s ]"},
      {19, kRun}};
  return o;
}

Report small_study() {
  Report report;
  report.question = "Why?";
  report.models = {{"a", "/m/a.gguf", 0, "", 0}};
  report.settings = {{"", {{"n-gpu-layers", "all"}, {"ctx-size", "4096"}}, 0}};
  report.settings[0].name = name_of(report.settings[0]);
  return report;
}

// Answers `bench` and `run` with what it is given, and remembers what was asked.
struct FakeProgram {
  Outcome bench = good_bench(), run = good_run();
  std::vector<std::vector<std::string>> asked;
  std::function<void()> then;

  StudyOptions options() {
    StudyOptions o;
    o.program = "/bin/sluice";
    o.predict = false;
    o.run = [this](const Command& command) -> Result<Outcome> {
      asked.push_back(command.arguments);
      if (then) then();
      return command.arguments[1] == "bench" ? bench : run;
    };
    return o;
  }
};

TEST(Study, ACaseHasSpeedsAnAnswerAndItsCommand) {
  FakeProgram program;
  Report report = small_study();
  ASSERT_TRUE(run_study(program.options(), report));
  ASSERT_EQ(report.cases.size(), 1u);
  const Case& one = report.cases[0];
  EXPECT_TRUE(report.complete);
  EXPECT_TRUE(one.failures.empty());
  EXPECT_EQ(one.speeds->prompt, 200.5);
  EXPECT_EQ(one.speeds->generation, 40.25);
  EXPECT_EQ(one.speeds->load_seconds, 1.5);
  EXPECT_EQ(one.speeds->experts_in_memory, 0.75);
  EXPECT_EQ(one.speeds->waiting, 0.25);
  EXPECT_EQ(one.speeds->prompt_waiting, 0.05);
  EXPECT_EQ(one.speeds->read_rate, 1.5e9);
  EXPECT_EQ(report.models[0].type, "qwen3moe 1B Q4_K");
  EXPECT_EQ(report.models[0].parameters, 123u);
  EXPECT_EQ(one.answer->first_token, 0.31);
  EXPECT_EQ(one.answer->generated_tokens, 200);
  EXPECT_EQ(one.answer->experts_in_memory, 0.88);
  EXPECT_EQ(one.answer->text, "未来");
  EXPECT_THAT(one.plans, ElementsAre("memory 7.90 of 8.00 GiB: weights 1.00, experts 6.00"));
  EXPECT_EQ(
      one.command,
      "sluice run -m /m/a.gguf -p 'Why?' -n 512 --seed 1 --no-escape --no-display-prompt -lv 3 "
      "-ngl all -c 4096");
  ASSERT_EQ(program.asked.size(), 2u);
  EXPECT_THAT(program.asked[0], Contains("99")) << "llama-bench takes numbers only";
  EXPECT_THAT(program.asked[0], testing::Not(Contains("-c"))) << "bench has no context";

  ASSERT_EQ(one.recordings.size(), 2u);
  std::vector<std::string> phases;
  for (const Recording& recording : one.recordings)
    for (const Phase& phase : recording.phases) phases.push_back(phase.name);
  EXPECT_THAT(phases,
              ElementsAre("load", "warm-up", "pp512", "warm-up", "tg128", "load", "answer"));
  EXPECT_EQ(one.recordings[0].phases[2].begin, 4);
}

TEST(Study, AFailedCaseIsALineAndTheNextOneRuns) {
  FakeProgram program;
  program.bench.exit_code = -1;
  program.bench.signal = SIGSEGV;
  Report report = small_study();
  report.models.push_back({"b", "/m/b.gguf", 0, "", 0});
  int kept = 0;
  StudyOptions options = program.options();
  options.keep = [&](const Report& so_far) -> Status {
    EXPECT_EQ(so_far.cases.size(), static_cast<size_t>(++kept));
    return {};
  };
  ASSERT_TRUE(run_study(options, report));
  ASSERT_EQ(report.cases.size(), 2u);
  EXPECT_EQ(kept, 2);
  for (const Case& one : report.cases) {
    ASSERT_EQ(one.failures.size(), 1u);
    EXPECT_EQ(one.failures[0].cause, Cause::kCrashed);
    EXPECT_EQ(one.failures[0].message, "crashed with SIGSEGV");
    EXPECT_FALSE(one.speeds);
    EXPECT_TRUE(one.answer) << "the question is asked all the same";
  }
}

TEST(Study, OutputThatMakesNoSenseIsAFailure) {
  FakeProgram program;
  program.bench.output = "Segmentation fault";
  program.run.errors.clear();
  Report report = small_study();
  ASSERT_TRUE(run_study(program.options(), report));
  ASSERT_EQ(report.cases[0].failures.size(), 2u);
  for (const Failure& failure : report.cases[0].failures)
    EXPECT_EQ(failure.cause, Cause::kNoResult);
  for (const char* bad : {"[]", "{}", "[1]", "[{\"avg_ts\": \"fast\"}]", "[{\"avg_ts\": null}]"}) {
    Model model;
    EXPECT_FALSE(parse_speeds(bad, model)) << bad;
  }
}

TEST(Study, StoppedByTheUser) {
  FakeProgram program;
  std::atomic<bool> interrupted{false};
  program.then = [&] { interrupted = true; };
  program.bench.exit_code = -1;
  program.bench.signal = SIGTERM;
  program.bench.interrupted = true;
  Report report = small_study();
  report.models.push_back({"b", "/m/b.gguf", 0, "", 0});
  StudyOptions options = program.options();
  options.interrupted = &interrupted;
  ASSERT_TRUE(run_study(options, report));
  EXPECT_EQ(report.cases.size(), 1u);
  EXPECT_EQ(program.asked.size(), 1u) << "nothing is begun after that";
  EXPECT_FALSE(report.complete);
  EXPECT_EQ(report.cases[0].failures[0].cause, Cause::kInterrupted);
}

TEST(Study, CausesOfFailures) {
  Setting plain, capped;
  capped.memory_limit = uint64_t{4} << 30;
  Outcome o;
  o.began = 1;
  o.ended = 3.5;
  o.exit_code = 1;
  o.errors = {{0, "sluice bench: benchmark 1/2: starting"},
              {0, "sluice bench: x.gguf: needs at least 3.0 GiB: use --ram 3G"}};
  Failure f = explain("bench", o, plain, 0);
  EXPECT_EQ(f.cause, Cause::kRefused);
  EXPECT_EQ(f.message, "x.gguf: needs at least 3.0 GiB: use --ram 3G");
  EXPECT_EQ(f.after, 2.5);
  EXPECT_EQ(f.last_lines.size(), 2u);
  o.errors.clear();
  EXPECT_EQ(explain("bench", o, plain, 0).message, "exit code 1 without a message");

  o.exit_code = -1;
  o.signal = SIGKILL;
  EXPECT_EQ(explain("run", o, plain, 0).cause, Cause::kKilled);
  EXPECT_THAT(explain("run", o, plain, 0).message, HasSubstr("SIGKILL"));
  o.out_of_memory = true;
  EXPECT_EQ(explain("run", o, plain, 0).cause, Cause::kOutOfMemory);
  EXPECT_THAT(explain("run", o, capped, 0).message, HasSubstr("more than the 4.00 GiB"));
  o.out_of_memory = false;
  o.timed_out = true;
  EXPECT_EQ(explain("run", o, plain, 90).cause, Cause::kTimeout);
  EXPECT_THAT(explain("run", o, plain, 90).message, HasSubstr("after 90 s; --timeout"));
}

TEST(Study, PredictionsOfPlan) {
  const auto p = parse_prediction(
      R"({"fits": true, "tg128": {"value": 44, "low": 40, "high": 50}, "pp512": {"value": 200},
          "first_token_seconds_30": {"value": 0.4}, "memory": {"total": 8000}, "vram": {"total": 5}})");
  ASSERT_TRUE(p);
  EXPECT_EQ(p->generation, 44);
  EXPECT_EQ(p->generation_low, 40);
  EXPECT_EQ(p->prompt, 200);
  EXPECT_EQ(p->memory, 8000);
  EXPECT_FALSE(parse_prediction(R"({"fits": false, "refusal": "too small"})")->fits);
  EXPECT_FALSE(known(parse_prediction(R"({"fits": true, "tg128": 3})")->generation));
  for (const char* bad : {"", "sluice: unknown command", "[]", "{}", R"({"fits": "yes"})"})
    EXPECT_FALSE(parse_prediction(bad)) << bad;
}

TEST(Study, PredictionsOfThePromptThatIsMeasured) {
  const auto p = parse_prediction(
      R"({"fits": true, "pp512": {"value": 200}, "prompt": {"tokens": 4096, "value": 150}})");
  ASSERT_TRUE(p);
  EXPECT_EQ(p->prompt_tokens, 4096);
  EXPECT_EQ(p->prompt, 150);
  EXPECT_EQ(parse_prediction(R"({"fits": true, "pp512": {"value": 200}})")->prompt_tokens, 512);
}

// Answers `plan` too: once to measure the machine, and before each case.
struct PlanningProgram : FakeProgram {
  std::string plan =
      R"({"fits": true, "tg128": {"value": 44}, "pp512": {"value": 200},
          "prompt": {"tokens": 64, "value": 180}})";
  std::vector<std::vector<std::string>> plans;
  std::vector<std::string> told;
  std::string refuses = "nothing";  // plans with this argument

  StudyOptions options() {
    StudyOptions o = FakeProgram::options();
    o.predict = true;
    o.tell = [this](const std::string& text) { told.push_back(text); };
    o.run = [this, others = o.run](const Command& command) -> Result<Outcome> {
      if (command.arguments[1] != "plan") return others(command);
      plans.push_back(command.arguments);
      Outcome outcome;
      const auto& a = command.arguments;
      if (std::find(a.begin(), a.end(), refuses) == a.end()) {
        outcome.exit_code = 0;
        outcome.output = plan;
      } else {
        outcome.exit_code = 2;
        outcome.errors = {{0, "sluice plan: no"}};
      }
      return outcome;
    };
    return o;
  }
};

TEST(Study, EveryCaseHasItsPrediction) {
  PlanningProgram program;
  Report report = small_study();
  report.prompt_tokens = 64;
  report.settings.push_back({"other", {{"load-mode", "dio"}, {"isa", "avx2"}}, 0});
  ASSERT_TRUE(run_study(program.options(), report));
  ASSERT_EQ(report.cases.size(), 2u);
  for (const Case& one : report.cases) {
    ASSERT_TRUE(one.predicted);
    EXPECT_EQ(one.predicted->generation, 44);
    EXPECT_EQ(one.predicted->prompt, 180);
    EXPECT_EQ(one.predicted->prompt_tokens, 64);
  }
  ASSERT_EQ(program.plans.size(), 3u) << "the first one measures the machine";
  EXPECT_THAT(program.plans[0], ElementsAre("/bin/sluice", "plan", "/m/a.gguf", "--json"));
  EXPECT_THAT(program.plans[1], ElementsAre("/bin/sluice", "plan", "/m/a.gguf", "--json", "-p",
                                            "64", "-ngl", "all", "-c", "4096"));
  EXPECT_THAT(program.plans[2],
              ElementsAre("/bin/sluice", "plan", "/m/a.gguf", "--json", "-p", "64", "-lm", "dio"));

  // A prompt that the context has no room for: the rest is told.
  PlanningProgram strict;
  strict.refuses = "-p";
  strict.plan = R"({"fits": true, "tg128": {"value": 44}, "pp512": {"value": 200}})";
  report = small_study();
  report.prompt_tokens = 64;
  ASSERT_TRUE(run_study(strict.options(), report));
  ASSERT_TRUE(report.cases[0].predicted);
  EXPECT_EQ(report.cases[0].predicted->generation, 44);
  EXPECT_EQ(report.cases[0].predicted->prompt_tokens, 512);
}

TEST(Study, WhyNothingIsPredictedIsTold) {
  PlanningProgram program;
  program.refuses = "plan";
  Report report = small_study();
  ASSERT_TRUE(run_study(program.options(), report));
  EXPECT_FALSE(report.cases[0].predicted);
  EXPECT_TRUE(report.cases[0].speeds) << "it is measured all the same";
  EXPECT_THAT(program.told, Contains(HasSubstr("could not be measured: sluice plan: no")));
  EXPECT_THAT(program.told, Contains(HasSubstr("predicts nothing")));
}

TEST(Study, WhichGpuASettingIsAbout) {
  const Setting plain, second{"", {{"main-gpu", "1"}}, 0}, wrong{"", {{"main-gpu", "x"}}, 0};
  EXPECT_EQ(gpu_of(plain, ""), 0);
  EXPECT_EQ(gpu_of(second, ""), 1);
  EXPECT_EQ(gpu_of(wrong, ""), -1);
  EXPECT_EQ(gpu_of(plain, "3,1"), 3);
  EXPECT_EQ(gpu_of(second, "3,1"), 1);
  EXPECT_EQ(gpu_of(second, "3"), -1);
  EXPECT_EQ(gpu_of(plain, "GPU-1b2c"), -1) << "names are not known to NVML's numbers";
  EXPECT_EQ(gpu_of(plain, "-1"), -1);
}

TEST(Study, TheSettingsGpuIsWatched) {
  const Result<Nvml> nvml = Nvml::load(SLUICE_FAKE_NVML);
  ASSERT_TRUE(nvml) << nvml.error().message;
  FakeProgram program;
  Report report = small_study();
  report.settings = {{"first", {}, 0}, {"second", {{"main-gpu", "1"}}, 0}};
  StudyOptions options = program.options();
  options.probe.nvml = &*nvml;
  options.run = [run = options.run](const Command& command) {
    command.started(getpid());  // long enough for a look
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    return run(command);
  };
  ASSERT_TRUE(run_study(options, report));
  const Peaks first = peaks(report.cases[0]), second = peaks(report.cases[1]);
  EXPECT_EQ(first.vram, 3796.0 * (1 << 20));
  EXPECT_EQ(first.gpu_load, 73) << "also where the case is shorter than the time between looks";
  EXPECT_EQ(second.vram, 4096.0 * (1 << 20));
  EXPECT_FALSE(known(second.gpu_load)) << "the second device does not tell";
}

TEST(Study, NamesOfSettings) {
  EXPECT_EQ(name_of({}), "default");
  Setting setting{"", {{"ram", "8G"}, {"n-gpu-layers", "0"}}, uint64_t{3} << 29};
  EXPECT_EQ(name_of(setting), "--ram 8G -ngl 0 --memory 1.5G");
  EXPECT_EQ(find_setting_flag("ngl"), find_setting_flag("n-gpu-layers"));
  EXPECT_EQ(find_setting_flag("layers"), nullptr);
}

class StudyFileTest : public testing::Test {
 protected:
  Status read(const std::string& text) {
    report_ = {};
    std::ofstream(path()) << text;
    return read_study(path(), report_);
  }
  std::string path() const { return folder_.file("study.json"); }
  test::TempFolder folder_;
  Report report_;
};

TEST_F(StudyFileTest, ReadsModelsSettingsAndTheRest) {
  const Status done = read(R"({"title": "T", "question": "Q", "prompt_tokens": 64, "timeout": 1.5,
    "models": ["a.gguf", {"path": "/x/b.gguf", "name": "B"}, "sub/a.gguf"],
    "settings": [{"ram": "8G", "ngl": 0, "memory": "900M"}, {"name": "plain"}]})");
  ASSERT_TRUE(done) << done.error().message;
  ASSERT_TRUE(complete_study(report_));
  EXPECT_EQ(report_.title, "T");
  EXPECT_EQ(report_.prompt_tokens, 64);
  EXPECT_EQ(report_.timeout, 1.5);
  ASSERT_EQ(report_.models.size(), 3u);
  EXPECT_EQ(report_.models[0].path, folder_.file("a.gguf")) << "relative to the file";
  EXPECT_EQ(report_.models[1].name, "B");
  EXPECT_EQ(report_.models[2].name, "a (2)") << "names are unique";
  ASSERT_EQ(report_.settings.size(), 2u);
  EXPECT_EQ(report_.settings[0].memory_limit, uint64_t{900} << 20);
  EXPECT_THAT(report_.settings[0].flags,
              ElementsAre(std::pair("ram", "8G"), std::pair("n-gpu-layers", "0")));
  EXPECT_EQ(report_.settings[0].name, "--ram 8G -ngl 0 --memory 0.879G");
  EXPECT_EQ(report_.settings[1].name, "plain");
}

TEST_F(StudyFileTest, PartsOfASplitFileCountTogether) {
  for (int i = 1; i <= 3; ++i)
    std::ofstream(folder_.file(fmt::format("m-0000{}-of-00003.gguf", i))) << std::string(10, 'x');
  ASSERT_TRUE(read(R"({"models": ["m-00001-of-00003.gguf"]})"));
  ASSERT_TRUE(complete_study(report_));
  EXPECT_EQ(report_.models[0].file_bytes, 30u);
}

TEST_F(StudyFileTest, ErrorsNameFileAndField) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "must be a JSON object"},
      {"[]", "must be a JSON object"},
      {"{", "must be a JSON object"},
      {R"({"models": []})", "models: must be a list of files"},
      {R"({"models": "a"})", "models: must be a list of files"},
      {R"({"models": [3]})", "models[0]: must be a file's path"},
      {R"({"models": [{"file": "a"}]})", "models[0].file: is unknown; known are path and name"},
      {R"({"settings": {}})", "settings: must be a list"},
      {R"({"settings": [3]})", "settings[0]: must be an object"},
      {R"({"settings": [{"rma": "8G"}]})",
       "settings[0].rma: is unknown; known are name, memory, ram"},
      {R"({"settings": [{"ram": [1]}]})", "settings[0].ram: must be a text or a whole number"},
      {R"({"settings": [{"memory": "lots"}]})", "settings[0].memory: must be a size such as 4G"},
      {R"({"repetitions": 0})", "repetitions: must be a whole number from 1 to 1000"},
      {R"({"repetitions": 1.5})", "repetitions: must be a whole number"},
      {R"({"question": ""})", "question: must be a text"},
      {R"({"modles": ["a"]})", "modles: is unknown; known are title"},
  };
  for (const auto& [text, expected] : cases) {
    const Status done = read(text);
    ASSERT_FALSE(done) << text;
    EXPECT_THAT(done.error().message, HasSubstr(path() + ": ")) << text;
    EXPECT_THAT(done.error().message, HasSubstr(expected)) << text;
  }
  EXPECT_FALSE(read_study("/nowhere/study.json", report_));
  report_ = {};
  EXPECT_THAT(complete_study(report_).error().message, HasSubstr("no model"));
}

TEST(Bytes, Sizes) {
  EXPECT_EQ(*parse_bytes("4G"), uint64_t{4} << 30);
  EXPECT_EQ(*parse_bytes("1.5GiB"), uint64_t{3} << 29);
  EXPECT_EQ(*parse_bytes("2GB"), 2000000000u);
  EXPECT_EQ(*parse_bytes("1000"), 1000u);
  for (const char* bad : {"", "G", "-1G", "0", "4X", "4Gx", "nan", "1e30G", "inf", "99999999T"})
    EXPECT_FALSE(parse_bytes(bad)) << bad;
}

}  // namespace
}  // namespace sluice::report
