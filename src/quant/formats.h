// SPDX-License-Identifier: Apache-2.0
// The formats, each defined in the source file named after it or its family; quant.cpp lists them.
#pragma once

#include "quant/quant.h"

namespace sluice::quant {

extern const Traits kF32Traits, kF16Traits, kBF16Traits;          // float_formats.cpp
extern const Traits kQ4_0Traits, kQ4_1Traits;                     // q4.cpp
extern const Traits kQ5_0Traits, kQ5_1Traits;                     // q5.cpp
extern const Traits kQ8_0Traits;                                  // q8.cpp
extern const Traits kQ2_KTraits;                                  // q2_k.cpp
extern const Traits kQ3_KTraits;                                  // q3_k.cpp
extern const Traits kQ4_KTraits;                                  // q4_k.cpp
extern const Traits kQ5_KTraits;                                  // q5_k.cpp
extern const Traits kQ6_KTraits;                                  // q6_k.cpp
extern const Traits kIQ4_NLTraits, kIQ4_XSTraits;                 // iq4.cpp
extern const Traits kIQ2_XXSTraits, kIQ2_XSTraits, kIQ2_STraits;  // iq2.cpp
extern const Traits kIQ3_XXSTraits, kIQ3_STraits;                 // iq3.cpp
extern const Traits kMXFP4Traits;                                 // mxfp4.cpp

}  // namespace sluice::quant
