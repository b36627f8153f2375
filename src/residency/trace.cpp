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
constexpr int64_t kVersion = 2;
constexpr int64_t kMostLayers = 4096;
constexpr int64_t kMostExperts = 65536;

bool take(std::string_view& line, char wanted) {
  if (line.empty() || line.front() != wanted) return false;
  line.remove_prefix(1);
  return true;
}

// What comes after a word: the next one, or the end of the line.
bool end_word(std::string_view& line) {
  return line.empty() || (take(line, ' ') && !line.empty());
}

// Reads digits; false when they give no number below `limit`.
bool take_digits(std::string_view& line, int64_t limit, int64_t& number) {
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (error != std::errc{} || number < 0 || number >= limit) return false;
  line.remove_prefix(static_cast<size_t>(end - line.data()));
  return true;
}

bool take_number(std::string_view& line, int64_t limit, int64_t& number) {
  return take_digits(line, limit, number) && end_word(line);
}

bool read_header(std::string_view line, Trace& trace, int64_t& version) {
  if (!line.starts_with(kMagic)) return false;
  line.remove_prefix(kMagic.size());
  int64_t layers = 0, experts = 0;
  if (!take(line, ' ') || !take_number(line, kVersion + 1, version) || version < 1 ||
      !take_number(line, kMostLayers, layers) || !take_number(line, kMostExperts, experts) ||
      !line.empty())
    return false;
  trace.layers = static_cast<int32_t>(layers);
  trace.experts = static_cast<int32_t>(experts);
  return true;
}

bool read_use(std::string_view& line, Use& use) {
  if (take(line, 's'))
    use = Use::kScan;
  else if (!take(line, 't'))
    return false;
  return end_word(line);
}

bool read_request(std::string_view line, int64_t version, Trace& trace) {
  int64_t step = 0, layer = 0;
  if (!take_number(line, INT64_MAX, step) || line.empty()) return false;
  if (!take_number(line, trace.layers, layer) || line.empty()) return false;
  ExpertRequest request;
  request.step = step;
  request.layer = static_cast<int32_t>(layer);
  if (version >= 2 && (!read_use(line, request.use) || line.empty())) return false;
  while (!line.empty()) {
    int64_t expert = 0;
    if (!take_digits(line, trace.experts, expert)) return false;
    if (!request.experts.empty() && expert <= request.experts.back()) return false;
    request.experts.push_back(static_cast<int32_t>(expert));
    if (request.use == Use::kScan) request.lasting.push_back(take(line, '+') ? 1 : 0);
    if (!end_word(line)) return false;
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
  int64_t version = 0;
  if (!std::getline(file, line) || !read_header(line, trace, version))
    return fail(ErrorKind::kBadFile, "{}: no trace of experts: make one with sluice run --trace",
                path);
  for (int64_t number = 2; std::getline(file, line); ++number)
    if (!read_request(line, version, trace))
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

void TraceWriter::record(int32_t layer, std::span<const int32_t> experts, Use use,
                         std::span<const uint8_t> lasting) {
  if (layer <= last_layer_) ++step_;
  last_layer_ = layer;
  line_.clear();
  fmt::format_to(std::back_inserter(line_), "{} {} {}", step_, layer,
                 use == Use::kScan ? 's' : 't');
  for (size_t i = 0; i < experts.size(); ++i)
    fmt::format_to(std::back_inserter(line_), " {}{}", experts[i],
                   use == Use::kScan && !lasting.empty() && lasting[i] != 0 ? "+" : "");
  line_ += '\n';
  file_ << line_;
}

Status TraceWriter::finish() {
  file_.close();
  if (file_) return {};
  return fail(ErrorKind::kIo, "{}: cannot write all of the trace: is the disk full?", path_);
}

}  // namespace sluice::residency
