// SPDX-License-Identifier: Apache-2.0
// Encoders of formats with searched scales: least squares with equal weights. Without an importance
// matrix nothing is known about the activations, and for activations of equal size the mean squared
// error of the weights is that of the product.
//
// A super-block is encoded in three steps: each group's own real scale (and minimum) by trying
// several ranges and solving for the best scale of each; the group scales rounded to the format's
// integers, with the neighbouring integers tried too; d (and dmin) solved again for the levels
// chosen, and the second step repeated with them.
#pragma once

#include "quant/block_format.h"

namespace sluice::quant {

// x has 256 elements (32 for Unpacked32) and is finite; a NaN gives some valid block. u is filled,
// with d and dmin already rounded to fp16; min and dmin are left alone where the format has none.

// x ~ d * scale * q, groups of 16 unless said.
void encode_q3_levels(const float* x, Unpacked256& u);  // q -4..3, scale -32..31
void encode_q6_levels(const float* x, Unpacked256& u);  // q -32..31, scale -128..127
void encode_iq4_levels(const float* x,
                       Unpacked256& u);  // q kIq4Levels, scale -32..31, groups of 32
void encode_iq4_levels(const float* x, Unpacked32& u);

// x ~ d * scale * q - dmin * min, all integers from 0.
void encode_q2_levels(const float* x, Unpacked256& u);  // q 0..3, scale and min 0..15, groups of 16
void encode_q4_levels(const float* x,
                      Unpacked256& u);  // q 0..15, scale and min 0..63, groups of 32
void encode_q5_levels(const float* x, Unpacked256& u);  // q 0..31, the same

}  // namespace sluice::quant
