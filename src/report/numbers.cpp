// SPDX-License-Identifier: Apache-2.0
#include "report/numbers.h"

#include <fmt/format.h>

#include <cmath>

#include "report/sample.h"

namespace sluice::report {
namespace {

constexpr const char* kDash = "–";
constexpr double kMiB = 1 << 20;

}  // namespace

std::string number_text(double value) {
  if (!known(value)) return kDash;
  if (value == 0) return "0";
  // As it will be rounded: 9.996 is 10.0 and not 10.00.
  const double size = std::abs(value);
  return fmt::format("{:.{}f}", value, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

std::string seconds_text(double value) {
  return known(value) ? number_text(value) + " s" : kDash;
}

std::string bytes_text(double value) {
  if (!known(value)) return kDash;
  if (std::abs(value) < 999.5 * kMiB) return fmt::format("{:.0f} MiB", std::abs(value) / kMiB);
  return number_text(value / (1024 * kMiB)) + " GiB";
}

std::string rate_text(double value) {
  if (!known(value)) return kDash;
  return value < 999.5e6 ? fmt::format("{:.0f} MB/s", value / 1e6)
                         : number_text(value / 1e9) + " GB/s";
}

std::string percent_text(double value) {
  return known(value) ? fmt::format("{:.0f} %", value) : kDash;
}

std::string ratio_text(double value) {
  return known(value) ? "×" + number_text(value) : kDash;
}

std::string change_text(double value) {
  return known(value) ? fmt::format("{:+.0f} %", 100 * value) : kDash;
}

}  // namespace sluice::report
