// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice::apps {

struct BuildInfo {
  const char* commit;  // short hash, "unknown" outside a git checkout
  int number;          // commits up to it, 0 likewise
};

BuildInfo build_info();

}  // namespace sluice::apps
