// SPDX-License-Identifier: Apache-2.0
#include "reference.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>

namespace sluice::golden {

std::string model_path(const std::string& file) {
  const char* folder = std::getenv("SLUICE_TEST_MODELS");
  return (folder ? std::string(folder) : SLUICE_TEST_DATA "/data/models") + "/" + file;
}

std::vector<Case> read_cases(const std::string& model) {
  std::ifstream in(model_path(model + ".json"));
  const nlohmann::json root = nlohmann::json::parse(in);
  std::vector<Case> cases;
  for (const auto& [name, entry] : root.at("cases").items())
    cases.push_back({name, entry.at("tokens"), entry.at("greedy"), entry.at("greedy_gap")});
  return cases;
}

std::vector<float> read_floats(const std::string& file) {
  std::ifstream in(model_path(file), std::ios::binary | std::ios::ate);
  if (!in) throw std::runtime_error("cannot open " + file);
  std::vector<float> values(static_cast<size_t>(in.tellg()) / sizeof(float));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(values.data()),
          static_cast<std::streamsize>(values.size() * sizeof(float)));
  return values;
}

std::vector<double> row_errors(const std::vector<float>& actual, const std::vector<float>& expected,
                               size_t width) {
  const double average =
      std::accumulate(expected.begin(), expected.end(), 0.0) / static_cast<double>(expected.size());
  double variance = 0;
  for (const float value : expected) variance += (value - average) * (value - average);
  const double deviation = std::sqrt(variance / static_cast<double>(expected.size()));
  std::vector<double> errors;
  for (size_t row = 0; row < expected.size(); row += width) {
    double squares = 0;
    for (size_t i = row; i < row + width; ++i) {
      const double difference = static_cast<double>(actual.at(i)) - expected[i];
      squares += difference * difference;
    }
    errors.push_back(std::sqrt(squares / static_cast<double>(width)) / deviation);
  }
  return errors;
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values.at(static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5));
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace sluice::golden
