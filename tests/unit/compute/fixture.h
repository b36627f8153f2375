// SPDX-License-Identifier: Apache-2.0
// The CPU backend behind its contract, and the plain arithmetic it is compared with.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "compute/backend.h"
#include "quant/quant.h"

namespace sluice::compute {

// Opened with `threads` threads on the best level of this machine, or on `isa`.
Backend open_cpu(int threads = 2, const std::string& isa = "");

std::vector<float> random_floats(size_t count, std::mt19937& random, float scale = 1);

// A weight with what its blocks stand for. Blocks begin at an odd address, as they may in a file.
struct Weight {
  sluice_matrix matrix;
  std::shared_ptr<std::vector<uint8_t>> bytes;  // copies share the blocks
  std::vector<float> values;                    // [rows, cols]

  uint8_t* blocks() const { return bytes->data() + 1; }
  double at(int64_t row, int64_t col) const {
    return values[static_cast<size_t>(row * matrix.cols + col)];
  }
};
// Values of about 1 / sqrt(cols), encoded; random blocks for types without an encoder.
Weight random_weight(quant::Type type, int64_t rows, int64_t cols, std::mt19937& random);

// weight * x for one row of x, in double: [rows].
std::vector<double> exact_product(const Weight& weight, std::span<const float> x);
// How far each product may be off: the rounding of x to 8 bits where the weight is quantised (twice
// with `fine`), and the float sums.
std::vector<double> product_error(const Weight& weight, std::span<const float> x, bool fine);

// One row of a [rows, dim] array.
template <typename T>
std::span<T> row(std::vector<T>& values, int64_t index, int64_t dim) {
  return {values.data() + index * dim, static_cast<size_t>(dim)};
}
template <typename T>
std::span<const T> row(const std::vector<T>& values, int64_t index, int64_t dim) {
  return {values.data() + index * dim, static_cast<size_t>(dim)};
}

// Root mean square of the difference over that of `expected`.
double relative_error(std::span<const float> actual, std::span<const double> expected);

}  // namespace sluice::compute
