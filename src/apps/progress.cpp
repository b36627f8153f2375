// SPDX-License-Identifier: Apache-2.0
#include "apps/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "base/size_text.h"

namespace sluice::apps {
namespace {

constexpr auto kWindow = std::chrono::seconds(6);
constexpr auto kOnTerminal = std::chrono::milliseconds(200);
constexpr auto kInLog = std::chrono::seconds(10);

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole >= 360000) return "days";
  if (whole >= 3600)
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

size_t terminal_width() {
  winsize size = {};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10 ? size.ws_col : 80;
}

}  // namespace

std::string progress_text(const hub::PullProgress& p, double rate) {
  std::string line;
  if (p.count > 1) line += fmt::format("file {} of {}: ", p.number, p.count);
  if (p.total == 0) {
    line += size_text(p.done);
  } else {
    line += fmt::format("{:3.0f} %, {} of {}",
                        100.0 * static_cast<double>(p.done) / static_cast<double>(p.total),
                        size_text(p.done), size_text(p.total));
  }
  if (p.checking) return line + ", checking";
  if (rate > 0) {
    line += fmt::format(", {}/s", size_text(static_cast<uint64_t>(rate)));
    if (p.total > p.done)
      line += fmt::format(", {} left", duration_text(static_cast<double>(p.total - p.done) / rate));
  }
  return line;
}

void ProgressMeter::show(const hub::PullProgress& progress) {
  const auto now = Clock::now();
  const uint64_t fetched = progress.done - progress.resumed;
  if (!samples_.empty() && fetched < samples_.back().fetched) samples_.clear();  // begun anew
  samples_.push_back({now, fetched});
  while (samples_.size() > 2 && now - samples_.front().time > kWindow) samples_.pop_front();
  if (open_ && now - shown_ < (terminal_ ? kOnTerminal : kInLog) && progress.done < progress.total)
    return;
  if (open_ && !terminal_ && now - shown_ < kOnTerminal) return;
  if (!open_ && !terminal_ && progress.done == progress.total) return;  // nothing was left to do
  const double seconds = std::chrono::duration<double>(now - samples_.front().time).count();
  const double rate =
      seconds > 0.3 ? static_cast<double>(fetched - samples_.front().fetched) / seconds : 0;
  std::string line = progress_text(progress, rate);
  if (terminal_) {
    line.resize(std::min(line.size(), terminal_width() - 1));
    std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
    std::fflush(stderr);
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  open_ = true;
  shown_ = now;
}

void ProgressMeter::finish() {
  if (open_ && terminal_) std::fputc('\n', stderr);
  open_ = false;
}

}  // namespace sluice::apps
