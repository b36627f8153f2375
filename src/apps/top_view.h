// SPDX-License-Identifier: Apache-2.0
// The machine as a picture of characters.
#pragma once

#include <string>

#include "apps/machine_state.h"

namespace sluice::apps {

struct ViewOptions {
  int columns = 80;
  int rows = 24;        // 0: as many as it takes
  bool colours = true;  // else ASCII, without escape sequences
};

// Lines, each ended by a newline; none is longer than `columns`, and there are at most `rows`.
std::string draw_machine(const MachineState& state, const ViewOptions& options);

}  // namespace sluice::apps
