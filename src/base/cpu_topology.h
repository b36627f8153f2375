// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice {

// CPUs this process may run on: scheduler affinity and cgroup quota both respected. At least 1.
int available_cpus();

}  // namespace sluice
