// SPDX-License-Identifier: Apache-2.0
// Invariants. A failed check is a defect of this program, never of its input: it prints and aborts.
#pragma once

#include <cstdio>
#include <cstdlib>

#define SLUICE_CHECK(condition, message)                                                      \
  do {                                                                                        \
    if (!(condition)) [[unlikely]] {                                                          \
      std::fprintf(stderr, "%s:%d: broken invariant: %s (%s)\n", __FILE__, __LINE__, message, \
                   #condition);                                                               \
      std::abort();                                                                           \
    }                                                                                         \
  } while (false)
