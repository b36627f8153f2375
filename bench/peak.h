// SPDX-License-Identifier: Apache-2.0
// What a core does at best, per level: independent integer product instructions on registers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::bench {

// Runs `rounds` rounds of the level's int8 product; returns operations (multiplications and
// additions) done.
int64_t int8_products_avx2(int64_t rounds);
int64_t int8_products_avx_vnni(int64_t rounds);
int64_t int8_products_avx512(int64_t rounds);

// The same with multiply-adds of floats.
int64_t float_products_avx2(int64_t rounds);
int64_t float_products_avx512(int64_t rounds);

// Reads `bytes` (a multiple of 256) with 256-bit loads.
void read_avx2(const void* data, size_t bytes);

}  // namespace sluice::bench
