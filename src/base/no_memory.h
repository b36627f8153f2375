// SPDX-License-Identifier: Apache-2.0
// Allocations that fail become errors where a module's functions end.
#pragma once

#include <new>

#include "base/result.h"

namespace sluice {

// What `body`, which returns a Result, returns; kTooLarge when it ran out of memory. What it leaves
// behind must be fit for use then.
template <typename Body>
auto or_no_memory(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::kTooLarge, "no memory left: use a smaller --ram, -c or -ub");
  }
}

}  // namespace sluice
