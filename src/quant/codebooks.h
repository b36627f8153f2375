// SPDX-License-Identifier: Apache-2.0
// Grids of the IQ2 and IQ3 formats: magnitudes of 8 or 4 neighbouring elements per index.
#pragma once

#include <cstdint>

namespace sluice::quant {

// Byte i of a point (lowest first) is the magnitude of element i.
template <int kPoints>
struct Grid8 {
  uint64_t point[kPoints];
};
template <int kPoints>
struct Grid4 {
  uint32_t point[kPoints];
};

extern const Grid8<256> kGridIQ2_XXS;
extern const Grid8<512> kGridIQ2_XS;
extern const Grid8<1024> kGridIQ2_S;
extern const Grid4<256> kGridIQ3_XXS;
extern const Grid4<512> kGridIQ3_S;

}  // namespace sluice::quant
