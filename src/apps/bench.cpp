// SPDX-License-Identifier: Apache-2.0
// sluice bench: speed of prompts and generation, as llama-bench measures and prints it.
#include "engine/bench.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <limits>
#include <optional>
#include <thread>

#include "apps/bench_output.h"
#include "apps/build_info.h"
#include "apps/commands.h"
#include "apps/learning.h"
#include "base/cpu_name.h"
#include "base/log.h"

namespace sluice::apps {
namespace {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%FT%TZ", &parts)};
}

// Standard output and standard error, each in its own format.
class Report {
 public:
  Report(const BenchRequest& request, const BenchMachine& machine)
      : out_(make_bench_printer(request.output, machine, request.experts)),
        err_(make_bench_printer(request.error_output, machine, request.experts)) {}

  Status header(const BenchRequest& request) {
    return print([&](BenchPrinter& printer) { return printer.header(request); });
  }
  Status test(const BenchRecord& record) {
    return print([&](BenchPrinter& printer) { return printer.test(record); });
  }
  Status footer() {
    return print([](BenchPrinter& printer) { return printer.footer(); });
  }

 private:
  template <typename Text>
  Status print(const Text& text) {
    if (out_) SLUICE_TRY(print_out(text(*out_)));
    if (err_) std::fputs(text(*err_).c_str(), stderr);
    return {};
  }
  std::unique_ptr<BenchPrinter> out_, err_;
};

// The model and the memory of the cases so far; both stay as long as the cases agree on them.
class Loaded {
 public:
  Loaded(const BenchRequest& request, const std::vector<BenchCase>& cases)
      : options_(request.common.engine) {
    for (const BenchCase& one : cases) {
      options_.ubatch = std::max(options_.ubatch, one.integer("n_ubatch"));
      capacity_ = std::max(capacity_, one.test.positions());
    }
    options_.context = capacity_;
    options_.any_context = true;
  }

  Result<engine::Bench*> prepare(const BenchCase& one) {
    const std::vector<std::string> model = {
        one.value("model_filename"), one.value("isa"),
        one.value("n_threads"),      one.value("n_gpu_layers"),
        one.value("n_cpu_moe"),      one.value("main_gpu"),
        one.value("load_mode"),      one.value("tensor_buft_overrides")};
    if (model != model_) {
      bench_.reset();
      finish();
      learning_.reset();
      engine_.reset();
      options_.model_path = model[0];
      options_.isa = model[1] == "auto" ? "" : model[1];
      options_.threads = static_cast<int>(one.integer("n_threads"));
      options_.gpu_layers = static_cast<int>(std::max<int64_t>(one.integer("n_gpu_layers"), -1));
      options_.cpu_moe_layers = static_cast<int>(one.integer("n_cpu_moe"));
      options_.device = static_cast<int>(one.integer("main_gpu"));
      SLUICE_ASSIGN(options_.reading.mode, parse_load_mode(one.value("load_mode")));
      options_.overrides.clear();
      if (std::string text = one.value("tensor_buft_overrides"); text != "none") {
        std::replace(text.begin(), text.end(), ';', ',');
        SLUICE_TRY(engine::parse_overrides(text, options_.overrides));
      }
      const auto start = std::chrono::steady_clock::now();
      SLUICE_ASSIGN(engine_, engine::Engine::load(options_));
      SLUICE_TRY(engine_->wait_until_loaded());
      load_ns_ = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                           std::chrono::steady_clock::now() - start)
                                           .count());
      model_ = model;
      learning_.emplace(Learning::of(*engine_));
    }
    const std::vector<std::string> types = {one.value("type_k"), one.value("type_v")};
    if (!bench_ || types != types_) {
      bench_.reset();
      const model::CacheTypes cache{quant::find_traits(types[0])->type,
                                    quant::find_traits(types[1])->type};
      SLUICE_ASSIGN(engine::Bench bench, engine::Bench::create(*engine_, capacity_, cache));
      bench_ = std::make_unique<engine::Bench>(std::move(bench));
      types_ = types;
    }
    return bench_.get();
  }

  // Before the model goes: for the next run.
  void finish() {
    if (engine_) remember_usage(*engine_);
    if (learning_) learning_->remember();
  }
  void learn(const BenchCase& one, const BenchRecord& record) {
    std::vector<uint64_t> sorted = record.samples_ns;
    if (sorted.empty()) return;
    std::ranges::sort(sorted);
    const double stalled =
        static_cast<double>(record.experts.stalled_ns) / static_cast<double>(sorted.size());
    learning_->measured(one.test.prompt, one.test.generate, one.test.depth, one.integer("n_ubatch"),
                        static_cast<double>(sorted[sorted.size() / 2]) / 1e9, stalled / 1e9);
  }
  const engine::Engine& engine() const { return *engine_; }
  uint64_t load_ns() const { return load_ns_; }

 private:
  engine::EngineOptions options_;
  int64_t capacity_ = 1;
  std::vector<std::string> model_, types_;
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<engine::Bench> bench_;
  std::optional<Learning> learning_;
  uint64_t load_ns_ = 0;
};

std::string phase_text(engine::BenchPhase phase, int repetition, int repetitions) {
  const auto numbered = [&](const char* name) {
    return repetition == 0 ? fmt::format("{} run of the warm-up", name)
                           : fmt::format("{} run {}/{}", name, repetition, repetitions);
  };
  switch (phase) {
    case engine::BenchPhase::kDepth:
      return numbered("depth");
    case engine::BenchPhase::kWarmupPrompt:
      return "warmup prompt run";
    case engine::BenchPhase::kWarmupGeneration:
      return "warmup generation run";
    case engine::BenchPhase::kPrompt:
      return numbered("prompt");
    case engine::BenchPhase::kGeneration:
      return numbered("generation");
  }
  return "";
}

engine::BenchOptions bench_options(const BenchRequest& request, const BenchCase& one,
                                   const std::function<void(const std::string&)>& tell) {
  engine::BenchOptions options;
  options.batch = one.integer("n_batch");
  options.ubatch = one.integer("n_ubatch");
  options.repetitions = request.repetitions;
  options.warmup = request.warmup;
  if (request.progress)
    options.progress = [&request, tell](engine::BenchPhase phase, int repetition) {
      tell(phase_text(phase, repetition, request.repetitions));
    };
  return options;
}

}  // namespace

Status bench_command(const Arguments& arguments) {
  BenchRequest request;
  SLUICE_ASSIGN(const bool go, parse_bench(arguments, request));
  if (!go) return {};
  init_logging(request.common.verbosity);
  if (request.common.source.given()) {
    SLUICE_TRY(find_model(request.common));
    request.models().push_back(request.common.engine.model_path);
  }
  const std::vector<BenchCase> cases = bench_cases(request);
  const BuildInfo build = build_info();
  BenchMachine machine{build.commit, build.number, SLUICE_VERSION, cpu_name(), "CPU", ""};
  std::optional<Report> report;
  Loaded loaded(request, cases);

  for (size_t i = 0; i < cases.size(); ++i) {
    const BenchCase& one = cases[i];
    const auto tell = [&](const std::string& what) {
      if (request.progress)
        std::fprintf(stderr, "sluice bench: benchmark %zu/%zu: %s\n", i + 1, cases.size(),
                     what.c_str());
    };
    tell("starting");
    SLUICE_ASSIGN(engine::Bench* const bench, loaded.prepare(one));
    if (i == 0) {
      const compute::Backend& backend = loaded.engine().backend();
      machine.backends = backend.name();
      if (!backend->host_memory) machine.gpu = backend.describe();
      report.emplace(request, machine);
      SLUICE_TRY(report->header(request));
    }
    if (request.delay > 0) std::this_thread::sleep_for(std::chrono::seconds(request.delay));
    BenchRecord record;
    record.what = one;
    record.model = engine::describe(loaded.engine().file());
    record.backend_description = loaded.engine().backend().describe();
    record.load_ns = loaded.load_ns();
    record.time = utc_now();
    SLUICE_ASSIGN(record.samples_ns, bench->run(one.test, bench_options(request, one, tell)));
    record.experts = bench->experts();
    loaded.learn(one, record);
    SLUICE_TRY(report->test(record));
  }
  loaded.finish();
  // llama-bench prints the frame of an empty table too.
  if (cases.empty()) {
    report.emplace(request, machine);
    SLUICE_TRY(report->header(request));
  }
  return report->footer();
}

}  // namespace sluice::apps
