// SPDX-License-Identifier: Apache-2.0
// A report with two models in two settings: one case was killed, one waited for the disk.
#pragma once

#include "report/report.h"

namespace sluice::report {

inline Recording example_recording(const char* stage, double began, double peak) {
  Recording r;
  r.stage = stage;
  r.began = began;
  r.ended = began + 4;
  r.peak_resident = static_cast<uint64_t>(peak);
  r.major_faults = 3;
  r.phases = {{began, "load"}, {began + 1, "tg128"}};
  for (int i = 0; i <= 40; ++i) {
    Sample s;
    s[Column::kTime] = began + i / 10.0;
    s[Column::kResident] = peak * std::min(1.0, i / 10.0);
    s[Column::kProcessSwap] = 0;
    s[Column::kSwapUsed] = 1000;
    s[Column::kProcessCpu] = i * 0.2;   // two cores
    s[Column::kProcessRead] = i * 1e8;  // 1 GB/s
    s[Column::kAvailable] = 8e9 - peak;
    r.samples.push_back(s);
  }
  return r;
}

inline Report example() {
  constexpr double kGiB = 1 << 30;
  Report r;
  r.time = "2026-01-02T03:04:05Z";
  r.program = "sluice 0.1.0 (abc)";
  r.machine.cpu = "Some CPU";
  r.machine.compute_threads = 2;
  r.machine.memory = uint64_t{16} << 30;
  r.machine.no_gpu = "none found";
  r.machine.disks = {{"nvme0n1", "Fast 1", "SSD"}};
  r.question = "为什么?";
  r.models = {{"small", "/m/small.gguf", uint64_t{2} << 30, "qwen3moe 4B", 4000000000},
              {"large", "/m/large.gguf", uint64_t{9} << 30, "qwen3moe 30B", 30000000000}};
  r.settings = {{"default", {}, 0}, {"--ram 4G", {{"ram", "4G"}}, uint64_t{5} << 30}};
  const auto add = [&](size_t model, size_t setting, double generation, double resident) {
    Case c;
    c.model = model;
    c.setting = setting;
    c.began = r.time;
    c.command = "sluice run -m x";
    if (generation > 0) {
      c.speeds.emplace();
      c.speeds->prompt = 10 * generation;
      c.speeds->generation = generation;
      c.speeds->waiting = setting == 1 ? 0.6 : 0;
      c.speeds->experts_in_memory = setting == 1 ? 0.8 : 1;
      c.speeds->load_seconds = 1.5;
      c.answer.emplace();
      c.answer->first_token = 0.4;
      c.answer->generation_rate = generation * 0.9;
      c.answer->prompt_tokens = 20;
      c.answer->generated_tokens = 100;
      c.answer->text = "因为 <b>&";
      c.predicted.emplace();
      c.predicted->generation = generation * 1.1;
      c.predicted->generation_low = generation;
      c.predicted->generation_high = generation * 1.2;
      c.predicted->prompt = 9 * generation;
      c.predicted->memory = resident * 1.02;
      c.plans = {"memory 3.90 of 4.00 GiB: weights 1.00"};
    }
    c.recordings = {example_recording("bench", 0, resident), example_recording("run", 5, resident)};
    r.cases.push_back(c);
  };
  add(0, 0, 40, 2.5 * kGiB);
  add(0, 1, 20, 2.5 * kGiB);
  add(1, 0, 0, 9 * kGiB);
  r.cases.back().failures = {
      {"bench", Cause::kOutOfMemory, "killed by the kernel", -1, 9, 3.5, {"last | line"}},
      {"run", Cause::kOutOfMemory, "killed by the kernel", -1, 9, 2.5, {}}};
  add(1, 1, 4, 4 * kGiB);
  return r;
}

}  // namespace sluice::report
