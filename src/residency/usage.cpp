// SPDX-License-Identifier: Apache-2.0
#include "residency/usage.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <functional>

#include "storage/cache_folder.h"

namespace sluice::residency {
namespace {

constexpr std::string_view kTitle = "sluice-usage";
constexpr int kVersion = 1;
constexpr uint64_t kMostBytes = 16 << 20;
// Far from the end of the numbers: sums of two stay numbers.
constexpr uint32_t kHottest = 1'000'000'000;
constexpr size_t kNumbersOfALine = 128;

uint64_t checksum(std::string_view text) {
  return XXH3_64bits(text.data(), text.size());
}

// Takes the word up to the next blank or line end.
std::string_view take_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \n"), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(" \n"));
  text.remove_prefix(word.size());
  return word;
}

template <typename Number>
bool parse(std::string_view word, Number& number, int base = 10) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number, base);
  return !word.empty() && error == std::errc() && end == word.data() + word.size();
}

}  // namespace

void Usage::add_run(std::span<const uint32_t> uses) {
  heat.resize(uses.size());
  for (size_t i = 0; i < uses.size(); ++i)
    heat[i] = std::min(heat[i] / 2 + std::min(uses[i], kHottest), kHottest);
}

std::vector<int32_t> Usage::hottest(size_t count) const {
  std::vector<int32_t> keys;
  for (size_t i = 0; i < heat.size(); ++i)
    if (heat[i] > 0) keys.push_back(static_cast<int32_t>(i));
  if (count < keys.size()) {
    std::ranges::stable_sort(keys, std::greater(),
                             [this](int32_t key) { return heat[static_cast<size_t>(key)]; });
    keys.resize(count);
    std::ranges::sort(keys);
  }
  return keys;
}

std::string format_usage(const Usage& usage) {
  std::string numbers;
  for (size_t i = 0; i < usage.heat.size(); ++i) {
    numbers += std::to_string(usage.heat[i]);
    numbers += (i + 1) % kNumbersOfALine == 0 || i + 1 == usage.heat.size() ? '\n' : ' ';
  }
  return fmt::format("{} {} {:016x} {} {:016x}\n", kTitle, kVersion, usage.model, usage.heat.size(),
                     checksum(numbers)) +
         numbers;
}

Result<Usage> parse_usage(std::string_view text, uint64_t model, size_t experts) {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  std::string_view numbers = end == std::string_view::npos ? "" : text.substr(end + 1);
  int version = 0;
  uint64_t count = 0, sum = 0;
  Usage usage;
  if (take_word(line) != kTitle) return fail(ErrorKind::kBadFile, "not a file of uses");
  if (!parse(take_word(line), version) || version != kVersion)
    return fail(ErrorKind::kBadFile, "not version {}", kVersion);
  if (!parse(take_word(line), usage.model, 16) || !parse(take_word(line), count) ||
      !parse(take_word(line), sum, 16) || !line.empty())
    return fail(ErrorKind::kBadFile, "its first line is damaged");
  if (usage.model != model || count != experts)
    return fail(ErrorKind::kBadFile, "it is about another model");
  if (checksum(numbers) != sum) return fail(ErrorKind::kBadFile, "its checksum is wrong");
  usage.heat.resize(experts);
  for (uint32_t& heat : usage.heat)
    if (!parse(take_word(numbers), heat) || heat > kHottest)
      return fail(ErrorKind::kBadFile, "a number of it is not one");
  if (!take_word(numbers).empty()) return fail(ErrorKind::kBadFile, "it has too many numbers");
  return usage;
}

std::string usage_path(const std::string& cache_folder, uint64_t model) {
  return fmt::format("{}/usage/{:016x}", cache_folder, model);
}

Result<Usage> read_usage(const std::string& path, uint64_t model, size_t experts) {
  const auto text = storage::read_small_file(path, kMostBytes);
  if (!text) {
    if (text.error().kind == ErrorKind::kNotFound) return Usage{model, {}};
    return fail(text.error());
  }
  auto usage = parse_usage(*text, model, experts);
  if (!usage) return fail(ErrorKind::kBadFile, "{}: {}", path, usage.error().message);
  return usage;
}

Status write_usage(const std::string& path, const Usage& usage) {
  return storage::replace_small_file(path, format_usage(usage));
}

}  // namespace sluice::residency
