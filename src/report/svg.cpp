// SPDX-License-Identifier: Apache-2.0
#include "report/svg.h"

#include <algorithm>
#include <cmath>

#include "report/numbers.h"

namespace sluice::report {
namespace {

constexpr double kWidth = 440;
constexpr size_t kMostPoints = 400;

// Width in em of text in a common sans serif, roughly: for what must not overlap.
double text_width(const std::string& text, double size) {
  double em = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) == 0x80) continue;  // the rest of a character
    em += byte >= 0xe0 ? 1.0 : 0.56;      // Chinese characters are square
  }
  return em * size;
}

std::string text_at(double x, double y, const char* kind, const char* anchor,
                    const std::string& text) {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>",
                     kind, x, y, anchor, escaped(text));
}

std::string line_at(double x1, double y1, double x2, double y2, const char* kind) {
  return fmt::format("<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>",
                     kind, x1, y1, x2, y2);
}

std::string opening(double height, const std::string& title) {
  return fmt::format(
      "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" "
      "role=\"img\" aria-label=\"{}\">",
      kWidth, height, escaped(title));
}

std::string tick_text(double value, double step) {
  const int digits = step >= 1 ? 0 : static_cast<int>(std::ceil(-std::log10(step) - 1e-9));
  return fmt::format("{:.{}f}", value, std::min(digits, 3));
}

}  // namespace

const char* const kPlotStyle = R"(
.plot{--ink:#1c2330;--soft:#5b6678;--line:#dfe3ea;--c0:#2760c4;--c1:#c25a0a;--c2:#0e7c66;--warn:#b3261e}
@media screen and (prefers-color-scheme:dark){
.plot{--ink:#e6eaf2;--soft:#9aa6b8;--line:#333c4a;--c0:#7fabff;--c1:#f2a05c;--c2:#54c8ae;--warn:#ff8a80}}
.plot{display:block;width:100%;height:auto;font:11px system-ui,sans-serif}
.plot text{fill:var(--ink)}
.plot .t{font-weight:600;font-size:12px}
.plot .s{fill:var(--soft);font-size:10px}
.plot .g{stroke:var(--line);stroke-width:1}
.plot .p{stroke:var(--soft);stroke-width:1;stroke-dasharray:1 3}
.plot .l{stroke:var(--warn);stroke-width:1;stroke-dasharray:5 3}
.plot .x{stroke:var(--ink);stroke-width:2}
.plot .l0,.plot .l1,.plot .l2{fill:none;stroke-width:1.6;stroke-linejoin:round}
.plot .l0{stroke:var(--c0)}.plot .l1{stroke:var(--c1)}.plot .l2{stroke:var(--c2)}
.plot .b0{fill:var(--c0)}.plot .b1{fill:var(--c1)}.plot .b2{fill:var(--c2)}
)";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

double nice_step(double most, int steps) {
  if (!(most > 0)) return 1;
  const double power = std::pow(10, std::floor(std::log10(most / steps)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0})
    if (factor * power * steps >= most * (1 - 1e-9)) return factor * power;
  return 10 * power;
}

std::string to_svg(const Plot& plot) {
  constexpr double kLeft = 44, kRight = 10, kTop = 46, kBottom = 22, kHeight = 190;
  const double width = kWidth - kLeft - kRight, height = kHeight - kTop - kBottom;
  double most = known(plot.limit) ? plot.limit : 0;
  for (const Plot::Series& series : plot.series)
    for (const Point& point : series.points) most = std::max(most, point.y);
  const double step = nice_step(most, 4);
  const double top = std::max(step, std::ceil(most / step - 1e-9) * step);
  const double end = plot.end > 0 ? plot.end : 1;
  const auto x_of = [&](double x) { return kLeft + width * std::clamp(x / end, 0.0, 1.0); };
  const auto y_of = [&](double y) { return kTop + height * (1 - std::clamp(y / top, 0.0, 1.0)); };

  std::string svg = opening(kHeight, plot.title);
  svg += text_at(0, 12, "t", "start",
                 plot.unit.empty() ? plot.title : plot.title + " (" + plot.unit + ")");
  // Names of the lines, at the right of the title's line or below it.
  double at = kLeft;
  for (size_t i = 0; i < plot.series.size() && plot.series.size() > 1; ++i) {
    svg +=
        fmt::format("<rect class=\"b{}\" x=\"{:.1f}\" y=\"21\" width=\"12\" height=\"3\"/>", i, at);
    svg += text_at(at + 16, 26, "s", "start", plot.series[i].name);
    at += 28 + text_width(plot.series[i].name, 10);
  }
  for (double y = 0; y <= top * (1 + 1e-9); y += step) {
    svg += line_at(kLeft, y_of(y), kWidth - kRight, y_of(y), "g");
    svg += text_at(kLeft - 5, y_of(y) + 3.5, "s", "end", tick_text(y, step));
  }
  const double time_step = nice_step(end, 6);
  for (double x = 0; x <= end * (1 + 1e-9); x += time_step)
    svg += text_at(x_of(x), kHeight - 7, "s", "middle",
                   tick_text(x, time_step) + (x + time_step > end ? " s" : ""));
  double free_from = 0;
  for (size_t i = 0; i < plot.phases.size(); ++i) {
    const auto& [begin, name] = plot.phases[i];
    const double x = x_of(begin);
    svg += line_at(x, kTop - 6, x, kTop + height, "p");
    // A name where it has room up to the next one.
    const double next = i + 1 < plot.phases.size() ? x_of(plot.phases[i + 1].first) : kWidth - 2;
    if (x < free_from || x + 8 + text_width(name, 10) > next) continue;
    svg += text_at(x + 2, kTop - 5, "s", "start", name);
    free_from = x + 5 + text_width(name, 10);
  }
  if (known(plot.limit)) {
    svg += line_at(kLeft, y_of(plot.limit), kWidth - kRight, y_of(plot.limit), "l");
    svg += text_at(kWidth - kRight, y_of(plot.limit) + 11, "s", "end", plot.limit_name);
  }
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const Plot::Series& series = plot.series[i];
    svg += fmt::format("<polyline class=\"l{}\" points=\"", std::min<size_t>(i, 2));
    for (const Point& point : thinned(series.points, kMostPoints))
      svg += fmt::format("{:.1f},{:.1f} ", x_of(point.x), y_of(point.y));
    svg += fmt::format("\"><title>{}</title></polyline>", escaped(series.name));
  }
  return svg + "</svg>";
}

std::string to_svg(const Bars& bars) {
  constexpr double kTop = 22, kRow = 34, kBar = 12, kRight = 84;
  const double width = kWidth - kRight;
  double most = 0;
  for (const Bars::Row& row : bars.rows) {
    if (known(row.value)) most = std::max(most, row.value);
    if (known(row.expected)) most = std::max(most, row.expected);
  }
  if (most <= 0) most = 1;
  const bool ticks = std::any_of(bars.rows.begin(), bars.rows.end(),
                                 [](const Bars::Row& row) { return known(row.expected); });
  const double height = kTop + kRow * static_cast<double>(bars.rows.size()) + (ticks ? 14 : 0);
  std::string svg = opening(height, bars.title);
  svg += text_at(0, 12, "t", "start", bars.title + " (" + bars.unit + ")");
  double y = kTop;
  for (const Bars::Row& row : bars.rows) {
    svg += text_at(0, y + 11, "s", "start", row.label);
    const double length = known(row.value) ? std::max(1.5, width * row.value / most) : 0;
    if (length > 0)
      svg += fmt::format(
          "<rect class=\"b0\" x=\"0\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.0f}\" rx=\"2\"/>",
          y + 15, length, kBar);
    double label = length;
    if (known(row.expected)) {
      const double x = width * row.expected / most;
      svg += line_at(x, y + 12, x, y + 15 + kBar + 3, "x");
      label = std::max(label, x);
    }
    svg += text_at(label + 6, y + 25, "v", "start", row.text);
    y += kRow;
  }
  if (ticks) {
    svg += line_at(2, y + 2, 2, y + 12, "x");
    svg += text_at(8, y + 11, "s", "start", bars.expected_name);
  }
  return svg + "</svg>";
}

std::string standalone(const std::string& svg) {
  const size_t end = svg.find('>') + 1;
  return svg.substr(0, end) + "<style>" + kPlotStyle + "</style>" + svg.substr(end) + "\n";
}

}  // namespace sluice::report
