// SPDX-License-Identifier: Apache-2.0
// Numbers for people: three digits, and a dash for what is unknown.
#pragma once

#include <string>

namespace sluice::report {

std::string number_text(double value);   // "7.43", "41.5", "208"
std::string seconds_text(double value);  // "0.38 s", "84 s"
std::string bytes_text(double value);    // "312 MiB", "3.42 GiB"
std::string rate_text(double value);     // bytes per second: "1.21 GB/s"
std::string percent_text(double value);  // of a number from 0 to 100: "61 %"
std::string ratio_text(double value);    // "x1.24"
std::string change_text(double value);   // 0.05: "+5 %"

}  // namespace sluice::report
