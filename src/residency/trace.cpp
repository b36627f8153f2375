// SPDX-License-Identifier: Apache-2.0
#include "residency/trace.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <iterator>
#include <string_view>

namespace sluice::residency {
namespace {

constexpr std::string_view kMagic = "sluice-trace";
constexpr int64_t kVersion = 1;
constexpr int64_t kMostLayers = 4096;
constexpr int64_t kMostExperts = 65536;

// Reads the next number of a line; false when there is none below `limit`.
bool take_number(std::string_view& line, int64_t limit, int64_t& number) {
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (error != std::errc{} || number < 0 || number >= limit) return false;
  line.remove_prefix(static_cast<size_t>(end - line.data()));
  if (line.empty()) return true;
  if (line.front() != ' ' || line.size() == 1) return false;
  line.remove_prefix(1);
  return true;
}

bool read_header(std::string_view line, Trace& trace) {
  if (!line.starts_with(kMagic)) return false;
  line.remove_prefix(kMagic.size());
  if (line.empty() || line.front() != ' ') return false;
  line.remove_prefix(1);
  int64_t version = 0, layers = 0, experts = 0;
  if (!take_number(line, kVersion + 1, version) || version != kVersion ||
      !take_number(line, kMostLayers, layers) || !take_number(line, kMostExperts, experts) ||
      !line.empty())
    return false;
  trace.layers = static_cast<int32_t>(layers);
  trace.experts = static_cast<int32_t>(experts);
  return true;
}

bool read_request(std::string_view line, Trace& trace) {
  int64_t step = 0, layer = 0;
  if (!take_number(line, INT64_MAX, step) || line.empty()) return false;
  if (!take_number(line, trace.layers, layer) || line.empty()) return false;
  ExpertRequest request{step, static_cast<int32_t>(layer), {}};
  while (!line.empty()) {
    int64_t expert = 0;
    if (!take_number(line, trace.experts, expert)) return false;
    request.experts.push_back(static_cast<int32_t>(expert));
  }
  if (!trace.requests.empty() && step < trace.requests.back().step) return false;
  trace.requests.push_back(std::move(request));
  return true;
}

}  // namespace

Result<Trace> read_trace(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const int code = errno;
    return fail(code == ENOENT ? ErrorKind::kNotFound : ErrorKind::kIo, "{}: cannot open: {}", path,
                std::strerror(code));
  }
  Trace trace;
  std::string line;
  if (!std::getline(file, line) || !read_header(line, trace))
    return fail(ErrorKind::kBadFile, "{}: no trace of experts: make one with sluice run --trace",
                path);
  for (int64_t number = 2; std::getline(file, line); ++number)
    if (!read_request(line, trace))
      return fail(ErrorKind::kBadFile,
                  "{}: line {} is no request of a model with {} layers and {} experts", path,
                  number, trace.layers, trace.experts);
  if (file.bad()) return fail(ErrorKind::kIo, "{}: cannot read", path);
  return trace;
}

Result<TraceWriter> TraceWriter::create(const std::string& path, int32_t layers, int32_t experts) {
  TraceWriter writer;
  writer.path_ = path;
  writer.file_.open(path, std::ios::binary | std::ios::trunc);
  if (!writer.file_)
    return fail(ErrorKind::kIo, "{}: cannot create: {}", path, std::strerror(errno));
  writer.file_ << fmt::format("{} {} {} {}\n", kMagic, kVersion, layers, experts);
  return writer;
}

void TraceWriter::record(int32_t layer, std::span<const int32_t> experts) {
  if (layer <= last_layer_) ++step_;
  last_layer_ = layer;
  line_.clear();
  fmt::format_to(std::back_inserter(line_), "{} {}", step_, layer);
  for (const int32_t expert : experts) fmt::format_to(std::back_inserter(line_), " {}", expert);
  line_ += '\n';
  file_ << line_;
}

Status TraceWriter::finish() {
  file_.close();
  if (file_) return {};
  return fail(ErrorKind::kIo, "{}: cannot write all of the trace: is the disk full?", path_);
}

}  // namespace sluice::residency
