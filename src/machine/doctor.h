// SPDX-License-Identifier: Apache-2.0
// Whether this machine is set up for the program, and what to do where it is not.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::machine {

enum class Severity {
  kGood,
  kNote,   // costs speed or comfort
  kFatal,  // models cannot be run
};

struct Finding {
  Severity severity = Severity::kGood;
  std::string subject;  // "processor", "GPU", ...
  std::string text;     // what was found
  std::string remedy;   // "" where nothing needs to be done
};

// What a look at the system needs besides its files.
struct Probes {
  std::string root;           // put before every path of /proc and /sys
  std::string levels;         // instruction set levels that this processor has, best last
  Status ring;                // whether io_uring can be used
  std::string accelerator;    // what the GPU's module found; "": it is not there or did not open
  Error accelerator_error;    // then why: kNotFound where the module is not installed
  std::string folder;         // whose disk is looked at; "": none
  std::string device_number;  // of that disk, "259:0"; "": unknown
  std::string cache_folder;   // where measurements are remembered
  bool cache_writable = true;
};

// Fills in what can be found out here. kNotFound for a folder that does not exist.
Result<Probes> probe_this_machine(const std::string& folder, const std::string& cache_folder);

// Processor, memory and control groups, swap, huge pages, io_uring, the GPU with driver, link and
// limit on locked memory, the disk.
std::vector<Finding> examine(const Probes& probes);

bool any_fatal(const std::vector<Finding>& findings);

// The newest CUDA version that an NVIDIA driver ("570.86.15") speaks, as 10 * major + minor; 0:
// unknown. Source: CUDA Toolkit release notes, table of driver versions.
int cuda_of_driver(const std::string& version);

}  // namespace sluice::machine
