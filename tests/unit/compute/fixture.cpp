// SPDX-License-Identifier: Apache-2.0
#include "fixture.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "../quant/random_blocks.h"
#include "compute/cpu/cpu_backend.h"

namespace sluice::compute {

Backend open_cpu(int threads, const std::string& isa) {
  auto backend = Backend::open(cpu::cpu_backend(), {threads, isa});
  if (!backend) throw std::runtime_error(backend.error().message);
  return std::move(*backend);
}

std::vector<float> random_floats(size_t count, std::mt19937& random, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

Weight random_weight(quant::Type type, int64_t rows, int64_t cols, std::mt19937& random) {
  const quant::Traits& traits = quant::traits(type);
  const int64_t count = rows * cols;
  Weight weight;
  weight.bytes = std::make_shared<std::vector<uint8_t>>(quant::row_bytes(type, count) + 1);
  uint8_t* blocks = weight.blocks();
  if (traits.encode) {
    const auto values =
        random_floats(static_cast<size_t>(count), random, 1 / std::sqrt(static_cast<float>(cols)));
    for (int64_t r = 0; r < rows; ++r)
      traits.encode(values.data() + r * cols, cols, blocks + quant::row_bytes(type, r * cols));
  } else {
    const quant::Row blocks_of_all_rows = quant::random_row(traits, count, random);
    std::copy_n(blocks_of_all_rows.data(), blocks_of_all_rows.size(), blocks);
  }
  weight.values.resize(static_cast<size_t>(count));
  traits.decode(blocks, count, weight.values.data());
  weight.matrix = {blocks, static_cast<uint32_t>(type), cols, rows};
  return weight;
}

std::vector<double> exact_product(const Weight& weight, std::span<const float> x) {
  std::vector<double> out(static_cast<size_t>(weight.matrix.rows));
  for (int64_t r = 0; r < weight.matrix.rows; ++r)
    for (int64_t c = 0; c < weight.matrix.cols; ++c)
      out[static_cast<size_t>(r)] += weight.at(r, c) * x[static_cast<size_t>(c)];
  return out;
}

std::vector<double> product_error(const Weight& weight, std::span<const float> x, bool fine) {
  const auto type = static_cast<quant::Type>(weight.matrix.type);
  std::vector<double> step(x.size());  // the largest rounding error of each x
  if (!quant::traits(type).is_float)
    for (size_t i = 0; i < x.size(); ++i) {
      double most = 0;
      for (size_t k = i / 32 * 32; k < i / 32 * 32 + 32; ++k)
        most = std::max(most, std::abs(double{x[k]}));
      step[i] = most / 127 / 2;
      if (fine) step[i] = step[i] / 127 / 2;
    }
  std::vector<double> out(static_cast<size_t>(weight.matrix.rows));
  for (int64_t r = 0; r < weight.matrix.rows; ++r)
    for (size_t c = 0; c < x.size(); ++c) {
      const double w = std::abs(weight.at(r, static_cast<int64_t>(c)));
      out[static_cast<size_t>(r)] += w * (step[c] * 1.001 + 1e-5 * std::abs(x[c]));
    }
  // Formats with a minimum subtract two sums that may be larger than the product's terms.
  for (double& error : out) error = error * 1.05 + 1e-7;
  return out;
}

double relative_error(std::span<const float> actual, std::span<const double> expected) {
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(error / norm);
}

}  // namespace sluice::compute
