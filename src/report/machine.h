// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "report/nvml.h"
#include "report/report.h"

namespace sluice::report {

// What this machine is. `nvml`: nullptr where there is none, `no_gpu` says why. `files`: whose
// disks are of interest. `root` is put before every path.
Machine describe_machine(const Nvml* nvml, const std::string& no_gpu,
                         const std::vector<std::string>& files, const std::string& root = "");

// The disk that holds the file; empty name where the system does not tell.
Disk disk_of(const std::string& file, const std::string& root = "");

}  // namespace sluice::report
