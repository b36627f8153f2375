// SPDX-License-Identifier: Apache-2.0
// Machines with round figures, and the headers of published shapes without their data.
#pragma once

#include <string>

#include "gguf/gguf.h"
#include "machine/machine.h"
#include "plan/plan.h"

namespace sluice::test {

inline constexpr uint64_t kGiB = uint64_t{1} << 30;

// Every weight type at these multiply-adds per second for one row, 8 times as many for many rows.
machine::ComputeRates rates_of(double per_second);

// 4 threads, 10^10 multiply-adds per second for one row, 12 of 16 GiB free, a disk of 1 GB/s. No
// accelerator.
machine::Machine made_up_machine();
// With an accelerator ten times as fast, 6 GiB.
machine::Machine with_accelerator();

// The header of a published shape ("qwen3-30b-a3b"); layers 0: all of them.
gguf::Gguf header_of(const std::string& shape, int64_t layers = 0,
                     const std::string& mix = "Q4_K_M");

plan::Corrections no_corrections();

}  // namespace sluice::test
