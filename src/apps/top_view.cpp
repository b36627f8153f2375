// SPDX-License-Identifier: Apache-2.0
#include "apps/top_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sluice::apps {
namespace {

struct Rgb {
  double r, g, b;
};

constexpr Rgb kTierColours[kTiers] = {{62, 68, 78}, {47, 111, 181}, {201, 133, 24}};
constexpr Rgb kLit{250, 250, 250};
constexpr Rgb kAttention{120, 94, 190};
constexpr const char* kTierNames[kTiers] = {"SSD", "RAM", "VRAM"};
constexpr char kTierLetters[kTiers] = {'.', 'r', 'V'};
constexpr int kMeter = 24;

// Of the 256 colours: the nearest in the cube, or in the ramp of greys.
int colour_number(const Rgb& c) {
  const auto step = [](double v) {
    return v < 48 ? 0 : v < 115 ? 1 : static_cast<int>((v - 35) / 40);
  };
  const auto level = [](int s) { return s == 0 ? 0.0 : 55.0 + 40 * s; };
  const auto distance = [&](double r, double g, double b) {
    return (r - c.r) * (r - c.r) + (g - c.g) * (g - c.g) + (b - c.b) * (b - c.b);
  };
  const int r = step(c.r), g = step(c.g), b = step(c.b);
  const double mean = (c.r + c.g + c.b) / 3;
  const int grey = std::clamp(static_cast<int>(std::lround((mean - 8) / 10)), 0, 23);
  const double shade = 8 + 10 * grey;
  return distance(shade, shade, shade) < distance(level(r), level(g), level(b))
             ? 232 + grey
             : 16 + 36 * r + 6 * g + b;
}

// A line with its width in columns, cut where the screen ends.
class Line {
 public:
  Line(int columns, bool colours) : left_(columns), colours_(colours) {}

  // East Asian scripts and what lies behind them are counted as two columns.
  Line& add(std::string_view text) {
    for (size_t i = 0; i < text.size();) {
      const auto byte = static_cast<unsigned char>(text[i]);
      size_t bytes = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
      bytes = std::min(bytes, text.size() - i);
      const bool wide = bytes == 4 || (bytes == 3 && byte != 0xE2 && byte != 0xE1 && byte != 0xE0);
      const int width = wide ? 2 : 1;
      if (width > left_) {
        left_ = 0;
        break;
      }
      text_ += text.substr(i, bytes);
      left_ -= width;
      i += bytes;
    }
    return *this;
  }
  Line& coloured(const Rgb& colour, std::string_view text) {
    if (!colours_) return add(text);
    if (left_ == 0) return *this;
    text_ += fmt::format("\x1b[38;5;{}m", colour_number(colour));
    add(text);
    text_ += "\x1b[0m";
    return *this;
  }
  Line& bold(std::string_view text) {
    if (!colours_) return add(text);
    text_ += "\x1b[1m";
    add(text);
    text_ += "\x1b[0m";
    return *this;
  }
  // Two cells, one above the other, in one place.
  Line& cells(int above, int below) {
    if (left_ == 0) return *this;
    --left_;
    if (above != above_ || below != below_) {
      text_ += fmt::format("\x1b[38;5;{};48;5;{}m", above, below);
      above_ = above;
      below_ = below;
    }
    text_ += "\u2580";
    return *this;
  }
  Line& plain() {
    if (above_ >= 0) text_ += "\x1b[0m";
    above_ = below_ = -1;
    return *this;
  }
  int left() const { return left_; }
  std::string take() {
    plain();
    return std::move(text_) + "\n";
  }

 private:
  int left_;
  bool colours_;
  int above_ = -1, below_ = -1;
  std::string text_;
};

std::string bytes_text(double bytes) {
  constexpr double kKiB = 1024, kMiB = kKiB * 1024, kGiB = kMiB * 1024;
  if (bytes >= 0.995 * kGiB) return fmt::format("{:.2f} GiB", bytes / kGiB);
  if (bytes >= 0.995 * kMiB) return fmt::format("{:.1f} MiB", bytes / kMiB);
  return fmt::format("{:.0f} KiB", bytes / kKiB);
}

class View {
 public:
  View(const MachineState& state, const ViewOptions& options) : s_(state), o_(options) {}

  std::string draw() {
    head();
    rates();
    memory();
    token();
    if (s_.experts > 0)
      experts();
    else
      finish(line().add("This model has no experts to show."));
    return std::move(text_);
  }

 private:
  Line line() const { return {o_.columns, o_.colours}; }
  void finish(Line& l) {
    if (o_.rows > 0 && lines_ >= o_.rows) return;
    text_ += l.take();
    ++lines_;
  }
  void finish(Line&& l) { finish(l); }

  void head() {
    Line l = line();
    l.bold("sluice").add("  ").bold(s_.model).add("  ").add(s_.backend);
    finish(l);
  }

  // The last values, as high as they are beside one another.
  std::string spark(const std::deque<double>& values, size_t width) const {
    if (!o_.colours) return "";
    static constexpr const char* kHeights[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const size_t count = std::min(width, values.size());
    const auto first = values.end() - static_cast<std::ptrdiff_t>(count);
    const double most = count > 0 ? std::max(1e-9, *std::max_element(first, values.end())) : 1;
    std::string text(width - count, ' ');
    for (auto value = first; value != values.end(); ++value)
      text += kHeights[static_cast<size_t>(std::ceil(8 * *value / most))];
    return text + " ";
  }

  void rates() {
    const size_t width = o_.columns >= 100 ? 24 : o_.columns >= 72 ? 14 : 0;
    Line l = line();
    l.add("Speed ").bold(fmt::format("{:6.1f} tok/s ", s_.tokens_per_second));
    l.coloured(kTierColours[kRam], spark(s_.speeds, width));
    l.add(" Disk ").bold(fmt::format("{:>9}/s ", bytes_text(s_.disk_rate)));
    l.coloured(kTierColours[kRam], spark(s_.disk_rates, width));
    if (s_.budget[kVram] > 0) l.add(fmt::format(" PCIe {}/s", bytes_text(s_.link_rate)));
    finish(l);
  }

  std::string meter(double share) const {
    const auto eighths = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * kMeter * 8));
    std::string text;
    if (!o_.colours) {
      text.assign(static_cast<size_t>((eighths + 4) / 8), '#');
      text.resize(kMeter, '-');
      return text;
    }
    static constexpr const char* kParts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    for (int n = 0; n < eighths / 8; ++n) text += "█";
    text += kParts[eighths % 8];
    for (int n = (eighths + 7) / 8; n < kMeter; ++n) text += "·";
    return text;
  }

  void memory() {
    for (const int tier : {kVram, kRam, kSsd}) {
      const auto t = static_cast<size_t>(tier);
      const double whole = tier == kSsd ? s_.expert_bytes : s_.budget[t];
      if (whole <= 0) continue;
      Line l = line();
      l.add(fmt::format("{:<5} ", kTierNames[t]));
      l.coloured(kTierColours[t], meter(s_.memory[t] / whole));
      l.add(fmt::format("  {:>9} of {:>9}", bytes_text(s_.memory[t]), bytes_text(whole)));
      if (tier == kSsd)
        l.add("  experts not in memory");
      else if (s_.hits[t])
        l.add(fmt::format("  hits {:3.0f} %", 100 * *s_.hits[t]));
      finish(l);
    }
  }

  void token() {
    struct Part {
      const char* name;
      std::optional<double> ms;
      Rgb colour;
      char letter;
    };
    const bool split = s_.attention_ms.has_value();
    const Part parts[] = {{"attention", s_.attention_ms, kAttention, 'a'},
                          {split ? "GPU experts" : "GPU", s_.gpu_ms, kTierColours[kVram], 'V'},
                          {"CPU experts", s_.cpu_ms, kTierColours[kRam], 'r'},
                          {"waiting", s_.waiting_ms, kTierColours[kSsd], '.'}};
    double whole = 0;
    for (const Part& part : parts) whole += part.ms.value_or(0);
    Line l = line();
    if (whole <= 0) {
      finish(l.add("Token ").add("no token yet"));
      return;
    }
    l.add("Token ");
    // Each part ends where it would without rounding.
    double until = 0;
    int drawn = 0;
    for (const Part& part : parts) {
      until += part.ms.value_or(0);
      const auto end = static_cast<int>(std::lround(until / whole * kMeter));
      std::string piece;
      for (; drawn < end; ++drawn)
        piece += o_.colours ? std::string("█") : std::string(1, part.letter);
      if (!piece.empty()) l.coloured(part.colour, piece);
    }
    l.add(fmt::format("  {:6.1f} ms:", whole));
    for (const Part& part : parts)
      if (part.ms) l.add(fmt::format(" {} {:.1f}", part.name, *part.ms));
    finish(l);
  }

  // --- the map ---

  // What stands for several cells: their mean, with the brightest use.
  Rgb mean(int64_t layer, int64_t layers, int64_t expert, int64_t experts) const {
    Rgb sum{0, 0, 0};
    int heat = 0, count = 0;
    for (int64_t l = layer; l < std::min(layer + layers, s_.layers); ++l)
      for (int64_t e = expert; e < std::min(expert + experts, s_.experts); ++e) {
        const auto i = static_cast<size_t>(l * s_.experts + e);
        const Rgb& c = kTierColours[s_.tiers[i]];
        sum = {sum.r + c.r, sum.g + c.g, sum.b + c.b};
        heat = std::max(heat, static_cast<int>(s_.heat[i]));
        ++count;
      }
    if (count == 0) return {0, 0, 0};
    const double glow = static_cast<double>(heat) / MachineState::kHottest;
    const auto mix = [&](double v, double lit) { return v / count * (1 - glow) + lit * glow; };
    return {mix(sum.r, kLit.r), mix(sum.g, kLit.g), mix(sum.b, kLit.b)};
  }

  char letter(int64_t layer, int64_t layers, int64_t expert, int64_t experts) const {
    std::array<int, kTiers> counts{};
    bool lit = false;
    for (int64_t l = layer; l < std::min(layer + layers, s_.layers); ++l)
      for (int64_t e = expert; e < std::min(expert + experts, s_.experts); ++e) {
        const auto i = static_cast<size_t>(l * s_.experts + e);
        ++counts[s_.tiers[i]];
        lit |= s_.heat[i] == MachineState::kHottest;
      }
    if (lit) return '*';
    return kTierLetters[std::max_element(counts.begin(), counts.end()) - counts.begin()];
  }

  void experts() {
    Line title = line();
    title.add(fmt::format("Experts {} x {}, {} used  ", s_.layers, s_.experts, s_.used));
    for (const int tier : {kVram, kRam, kSsd}) {
      const auto t = static_cast<size_t>(tier);
      if (tier == kVram && s_.budget[kVram] <= 0) continue;
      const std::string mark = o_.colours ? "■" : std::string(1, kTierLetters[t]);
      title.coloured(kTierColours[t], mark)
          .add(fmt::format(" {} {}  ", kTierNames[t], s_.counts[t]));
    }
    title.coloured(kLit, o_.colours ? "■" : "*").add(" used just now");
    finish(title);

    const int64_t columns = std::max(1, o_.columns);
    const int64_t wide = (s_.experts + columns - 1) / columns;  // experts per cell
    const int64_t room = o_.rows > 0 ? std::max(0, o_.rows - lines_) : s_.layers;
    if (room == 0) return;
    const int64_t per_line = o_.colours ? 2 : 1;
    const int64_t high =
        std::max<int64_t>(1, (s_.layers + room * per_line - 1) / (room * per_line));
    for (int64_t layer = 0; layer < s_.layers; layer += high * per_line) {
      Line l = line();
      for (int64_t e = 0; e < s_.experts; e += wide) {
        if (!o_.colours) {
          l.add(std::string(1, letter(layer, high, e, wide)));
          continue;
        }
        const int above = colour_number(mean(layer, high, e, wide));
        const bool last = layer + high >= s_.layers;
        l.cells(above, last ? 16 : colour_number(mean(layer + high, high, e, wide)));
      }
      finish(l);
    }
  }

  const MachineState& s_;
  const ViewOptions o_;
  std::string text_;
  int lines_ = 0;
};

}  // namespace

std::string draw_machine(const MachineState& state, const ViewOptions& options) {
  return View(state, options).draw();
}

}  // namespace sluice::apps
