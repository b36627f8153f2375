// SPDX-License-Identifier: Apache-2.0
// Plots as SVG. Colours are classes, so that a page's style decides them.
#pragma once

#include <string>

#include "report/document.h"

namespace sluice::report {

std::string to_svg(const Plot& plot);
std::string to_svg(const Bars& bars);
// A file of its own: with kPlotStyle inside.
std::string standalone(const std::string& svg);
// CSS for the classes, light and dark.
extern const char* const kPlotStyle;

// "&lt;" and the like; also for attributes. Control characters that XML does not know vanish.
std::string escaped(const std::string& text);

// Steps of 1, 2 or 5 times a power of ten that cut `most` into at most `steps` parts.
double nice_step(double most, int steps);

}  // namespace sluice::report
