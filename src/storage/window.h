// SPDX-License-Identifier: Apache-2.0
// Unbuffered reads start and end at multiples of the disk's alignment, and so does their target in
// memory. A wanted range of bytes therefore lies inside a larger aligned window. When a slot's base
// is aligned and the whole window is read to it, the wanted bytes lie at base + phase: where the
// file has them within a block, the slot has them too, and nothing is copied afterwards.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/check.h"

namespace sluice::storage {

struct Window {
  uint64_t offset = 0;  // in the file: a multiple of the alignment
  uint32_t bytes = 0;   // a multiple of the alignment; the last one may reach past the file's end
  uint32_t phase = 0;   // the wanted bytes start this far into the window
  uint32_t needed = 0;  // phase + wanted bytes: the rest of the window is padding
};

// The smallest aligned window around `bytes` (at least 1) at `offset`. `alignment` is a power of
// two; with 1 the window is the range itself.
inline Window enclosing_window(uint64_t offset, uint32_t bytes, uint32_t alignment) {
  SLUICE_CHECK(alignment != 0 && (alignment & (alignment - 1)) == 0, "alignment: a power of two");
  SLUICE_CHECK(bytes != 0, "a window of no bytes");
  const uint64_t mask = alignment - 1;
  const uint64_t needed = (offset & mask) + bytes;
  const uint64_t whole = (needed + mask) & ~mask;
  SLUICE_CHECK(whole <= UINT32_MAX, "a window holds less than 4 GiB");
  return {.offset = offset & ~mask,
          .bytes = static_cast<uint32_t>(whole),
          .phase = static_cast<uint32_t>(offset & mask),
          .needed = static_cast<uint32_t>(needed)};
}

// Bytes of an aligned slot that holds the window of any range of `bytes`, whatever its phase.
inline uint64_t slot_bytes(uint64_t bytes, uint32_t alignment) {
  const uint64_t mask = alignment - 1;
  return (bytes + mask + mask) & ~mask;
}

// A window may be read in pieces of at most `piece_bytes` (a multiple of the alignment), each of
// which is a window of its own that is read to base + i * piece_bytes. Every piece has wanted
// bytes.
inline uint32_t piece_count(const Window& window, uint32_t piece_bytes) {
  return window.bytes / piece_bytes + (window.bytes % piece_bytes != 0 ? 1 : 0);
}

inline Window piece(const Window& window, uint32_t i, uint32_t piece_bytes) {
  const uint32_t start = i * piece_bytes;
  return {.offset = window.offset + start,
          .bytes = std::min(window.bytes - start, piece_bytes),
          .phase = window.phase > start ? std::min(window.phase - start, piece_bytes) : 0,
          .needed = std::min(window.needed - start, piece_bytes)};
}

}  // namespace sluice::storage
