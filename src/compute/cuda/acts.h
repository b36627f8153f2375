// SPDX-License-Identifier: Apache-2.0
// Quantised activations on the device.
#pragma once

#include <cstdint>

namespace sluice::cuda {

// 32 activations: x[i] = scale * q[i]. sum[h] = q[16 h] + ... + q[16 h + 15].
struct alignas(8) ActGroup {
  float scale;
  int16_t sum[2];
};

// Quantised rows of activations on the device, as src/quant quantises them. With copies = 2 every
// row gives two: 2 r, and 2 r + 1 with what the first one's rounding lost.
struct Acts {
  const int8_t* q = nullptr;         // [rows * copies, stride]
  const ActGroup* groups = nullptr;  // [rows * copies, stride / 32]
  int64_t stride = 0;                // elements: dim rounded up to kActStep, zeros behind dim
  int copies = 1;
  // The same levels in the orders of units (formats.cuh), where few activations are multiplied: of
  // eight neighbouring units first their elements 0 .. 15, then 16 .. 31 and so on, so that
  // neighbouring lanes read neighbouring words. units[0]: units of 64 neighbours; units[1]: of 32
  // and the 32 that are 64 further.
  const int8_t* units[2] = {nullptr, nullptr};  // [rows * copies, unit_stride]
  int64_t unit_stride = 0;
  const float* floats = nullptr;  // [rows, dim] as they were, for weights of a float type
  int64_t dim = 0;
};

// The quantised form of the rows that a norm wrote last, for the products that follow: valid while
// nothing else can have written those rows.
struct Remembered {
  Acts acts;  // floats: those rows; nullptr: nothing
  int64_t rows = 0;
};

}  // namespace sluice::cuda
