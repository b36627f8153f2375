// SPDX-License-Identifier: Apache-2.0
// Runs the study: every model in every setting, each measurement in a process of its own, so that
// a crash becomes a line of the report.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "report/probe.h"
#include "report/process.h"
#include "report/report.h"

namespace sluice::report {

// A flag that settings may have.
struct SettingFlag {
  std::string name;        // long, without dashes: what JSON calls it
  std::string run;         // what `run` calls it; "": it has none
  std::string bench;       // what `bench` calls it; ""
  std::string short_name;  // in names of settings
};
const std::vector<SettingFlag>& setting_flags();
const SettingFlag* find_setting_flag(const std::string& name);  // long or a short form

// Which GPU a setting's -mg chooses, as NVML counts; -1: not known. `visible`: what
// CUDA_VISIBLE_DEVICES says.
int gpu_of(const Setting& setting, const std::string& visible);

// "--ram 8G -ngl 0"; "default" where there is nothing.
std::string name_of(const Setting& setting);

struct StudyOptions {
  std::string program;       // sluice itself
  ProbeOptions probe;        // its GPU is that of each setting
  std::string visible_gpus;  // of CUDA_VISIBLE_DEVICES
  const std::atomic<bool>* interrupted = nullptr;
  bool predict = true;                           // ask `sluice plan`
  std::function<void(const std::string&)> tell;  // what is going on, in a line
  // After each case: the report so far.
  std::function<Status(const Report&)> keep;
  // Instead of processes, in tests.
  std::function<Result<Outcome>(const Command&)> run = run_process;
};

// Fills report.cases for report.models x report.settings. Failed cases are no errors; errors are
// kUnsupported where a setting's limit on memory cannot be had, and what `keep` returns.
Status run_study(const StudyOptions& options, Report& report);

// What a process of `sluice bench -o json` or `sluice run` told; pure functions for tests.
Result<Speeds> parse_speeds(const std::string& json, Model& model);
Result<Answer> parse_answer(const Outcome& outcome);
// `tests`: what the benchmarks are called in order ("pp512").
std::vector<Phase> bench_phases(const Outcome& outcome, const std::vector<std::string>& tests);
Failure explain(const std::string& stage, const Outcome& outcome, const Setting& setting,
                double timeout);

}  // namespace sluice::report
