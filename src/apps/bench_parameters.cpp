// SPDX-License-Identifier: Apache-2.0
#include "apps/bench_parameters.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include "base/check.h"
#include "base/cpu_topology.h"

namespace sluice::apps {
namespace {

using Values = Result<std::vector<std::string>>;
using Parser = std::function<Values(const std::string&)>;

constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
constexpr size_t kMostValues = 100000;  // of one list: a slip of the finger, not a plan

std::vector<std::string> split(const std::string& text, const char* separators = ",") {
  std::vector<std::string> parts(1);
  for (const char c : text)
    if (std::string_view(separators).find(c) != std::string_view::npos)
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

// Reads a number at the front of `text` and removes it.
bool take_number(std::string_view& text, bool negative, int64_t& number) {
  if (text.empty() || !(std::isdigit(static_cast<unsigned char>(text[0])) ||
                        (negative && text.size() > 1 && text[0] == '-')))
    return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text[0] != c) return false;
  text.remove_prefix(1);
  return true;
}

struct Range {
  int64_t first = 0, last = 0, step = 1;
  bool multiply = false;
};

bool take_range(std::string_view& text, bool negative, Range& range) {
  if (!take_number(text, negative, range.first)) return false;
  range.last = range.first;
  if (!take(text, '-')) return true;
  if (!take_number(text, false, range.last)) return false;
  range.multiply = take(text, '*');
  if (!range.multiply && !take(text, '+')) return true;
  return take_number(text, false, range.step);
}

Parser integers(int64_t least, int64_t most = kMost) {
  return [least, most](const std::string& text) -> Values {
    SLUICE_ASSIGN(const std::vector<int64_t> numbers, parse_ranges(text, least, most));
    std::vector<std::string> values;
    values.reserve(numbers.size());
    for (const int64_t number : numbers) values.push_back(std::to_string(number));
    return values;
  };
}

Values booleans(const std::string& text) {
  std::vector<std::string> values;
  for (const std::string& part : split(text)) {
    SLUICE_ASSIGN(const bool on, parse_bool(part));
    values.push_back(on ? "1" : "0");
  }
  return values;
}

Parser choices(std::vector<std::string> allowed) {
  return [allowed = std::move(allowed)](const std::string& text) -> Values {
    std::vector<std::string> values = split(text);
    for (const std::string& value : values)
      if (std::find(allowed.begin(), allowed.end(), value) == allowed.end())
        return fail(ErrorKind::kUsage, "\"{}\" must be one of {}", value, fmt::join(allowed, ", "));
    return values;
  };
}

Values texts(const std::string& text) {
  std::vector<std::string> values = split(text);
  for (const std::string& value : values)
    if (value.empty()) return fail(ErrorKind::kUsage, "an entry of the list is empty");
  return values;
}

Values flash_attention(const std::string& text) {
  std::vector<std::string> values;
  for (const std::string& part : split(text)) {
    if (part == "auto" || part == "-1") {
      values.push_back("-1");
    } else if (const Result<bool> on = parse_bool(part)) {
      values.push_back(*on ? "1" : "0");
    } else {
      return fail(ErrorKind::kUsage, "\"{}\" must be on, off or auto", part);
    }
  }
  return values;
}

// The two names that older versions of llama-bench have for the load mode.
Parser load_mode(const char* on, const char* off) {
  return [on, off](const std::string& text) -> Values {
    SLUICE_ASSIGN(std::vector<std::string> values, booleans(text));
    for (std::string& value : values) value = value == "1" ? on : off;
    return values;
  };
}

Values cpu_mask(const std::string& text) {
  SLUICE_ASSIGN(std::vector<std::string> values, texts(text));
  for (const std::string& value : values) {
    const std::string digits = value.starts_with("0x") ? value.substr(2) : value;
    if (digits.empty() || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
      return fail(ErrorKind::kUsage, "\"{}\" must be a hexadecimal number", value);
  }
  return values;
}

// "3/1" becomes "3.00/1.00"; what is 0 at the end is left out, but for the first.
Values tensor_split(const std::string& text) {
  constexpr size_t kDevices = 16;
  std::vector<std::string> values;
  for (const std::string& group : split(text)) {
    std::vector<std::string> shares;
    size_t shown = 1;
    for (const std::string& part : split(group, ";/")) {
      SLUICE_ASSIGN(const double share, parse_number(part, 0, 1e9));
      shares.push_back(fmt::format("{:.2f}", share));
      if (share > 0) shown = shares.size();
    }
    if (shares.size() > kDevices)
      return fail(ErrorKind::kUsage, "\"{}\" must name at most {} devices", group, kDevices);
    shares.resize(shown);
    values.push_back(fmt::format("{}", fmt::join(shares, "/")));
  }
  return values;
}

Values tensor_overrides(const std::string& text) {
  std::vector<std::string> values;
  std::vector<engine::TensorOverride> unused;
  for (const std::string& group : split(text)) {
    for (const std::string& part : split(group, ";"))
      if (!group.empty()) SLUICE_TRY(engine::parse_overrides(part, unused));
    values.push_back(group.empty() ? "none" : group);
  }
  return values;
}

std::vector<BenchParameter> make_parameters() {
  std::vector<BenchParameter> all;
  const auto add = [&all](BenchParameter parameter) { all.push_back(std::move(parameter)); };
  const Parser cache_types =
      choices({"f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"});
  add({"model_filename", "--model", {"-m"}, "FILE", "GGUF files", "", texts});
  add({"isa", "--isa", {}, "LEVEL", "instruction set levels of the CPU kernels", "auto", texts});
  add({"fit_target", "--fit-target", {"-fitt"}, "MIB", "no effect", "0", integers(0)});
  add({"fit_min_ctx", "--fit-ctx", {"-fitc"}, "N", "no effect", "0", integers(0)});
  add({"n_gpu_layers",
       "--n-gpu-layers",
       {"-ngl"},
       "N",
       "0: without a GPU; -1: with one that can; more: with one",
       "-1",
       integers(-kMost)});
  add({"n_cpu_moe",
       "--n-cpu-moe",
       {"-ncmoe"},
       "N",
       "experts of the first N layers stay out of the GPU's memory",
       "0",
       integers(0)});
  add({"split_mode",
       "--split-mode",
       {"-sm"},
       "MODE",
       "no effect",
       "layer",
       choices({"none", "layer", "row", "tensor"})});
  add({"load_mode",
       "--load-mode",
       {"-lm"},
       "MODE",
       "how experts are read: none, mmap: through the page cache; dio: past it",
       "auto",
       choices({"auto", "none", "mmap", "mlock", "mmap+mlock", "dio"})});
  add({"lazy_mode",
       "--lazy-mode",
       {"-lzm"},
       "on|auto|off",
       "no effect",
       "auto",
       choices({"on", "auto", "off"})});
  add({"main_gpu", "--main-gpu", {"-mg"}, "N", "which GPU", "0", integers(0)});
  add({"devices",
       "--device",
       {"-dev"},
       "none|auto",
       "no effect",
       "auto",
       choices({"auto", "none"})});
  add({"tensor_split", "--tensor-split", {"-ts"}, "A/B", "no effect", "0.00", tensor_split});
  add({"tensor_buft_overrides",
       "--override-tensor",
       {"-ot"},
       "PATTERN=BUFFER;...",
       "keep experts whose tensors match in CPU, or for good in CUDA0",
       "none",
       tensor_overrides});
  add({"no_host", "--no-host", {}, "0|1", "no effect", "0", booleans});
  add({"embeddings", "--embeddings", {"-embd"}, "0|1", "no effect", "0", booleans});
  add({"no_op_offload", "--no-op-offload", {"-nopo"}, "0|1", "no effect", "0", booleans});
  add({"n_batch",
       "--batch-size",
       {"-b"},
       "N",
       "tokens handed over at a time",
       "2048",
       integers(1)});
  add({"n_ubatch", "--ubatch-size", {"-ub"}, "N", "tokens of a forward pass", "512", integers(1)});
  add({"type_k", "--cache-type-k", {"-ctk"}, "TYPE", "type of cached keys", "f16", cache_types});
  add({"type_v", "--cache-type-v", {"-ctv"}, "TYPE", "type of cached values", "f16", cache_types});
  add({"no_kv_offload", "--no-kv-offload", {"-nkvo"}, "0|1", "no effect", "0", booleans});
  add({"flash_attn", "--flash-attn", {"-fa"}, "on|off|auto", "no effect", "-1", flash_attention});
  add({"n_threads",
       "--threads",
       {"-t"},
       "N",
       "CPU threads",
       std::to_string(compute_cpus().threads),
       integers(1, 1024)});
  add({"cpu_mask", "--cpu-mask", {"-C"}, "HEX", "no effect", "0x0", cpu_mask});
  add({"cpu_strict", "--cpu-strict", {}, "0|1", "no effect", "0", booleans});
  add({"n_depth",
       "--n-depth",
       {"-d"},
       "N",
       "tokens in the context before a test",
       "0",
       integers(0)});
  add({"poll", "--poll", {}, "N", "no effect", "50", integers(0)});
  return all;
}

size_t index_of(const std::string& field) {
  const std::vector<BenchParameter>& all = bench_parameters();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const BenchParameter& p) { return p.field == field; });
  SLUICE_CHECK(found != all.end(), "a parameter that does not exist");
  return static_cast<size_t>(found - all.begin());
}

// A setter that adds what `parse` makes of the text to the list at `index`.
auto appending(BenchRequest& request, size_t index, Parser parse) {
  return [&request, index, parse = std::move(parse)](const std::string& text) -> Status {
    SLUICE_ASSIGN(const std::vector<std::string> more, parse(text));
    std::vector<std::string>& list = request.values[index];
    list.insert(list.end(), more.begin(), more.end());
    return {};
  };
}

auto appending(std::vector<int64_t>& list) {
  return [&list](const std::string& text) -> Status {
    SLUICE_ASSIGN(const std::vector<int64_t> more, parse_ranges(text, 0, kMost));
    list.insert(list.end(), more.begin(), more.end());
    return {};
  };
}

auto switching(bool& field, bool on) {
  return [&field, on](const std::string& text) -> Status {
    field = (text == "true") == on;
    return {};
  };
}

auto output_format(BenchFormat& field) {
  return [&field](const std::string& text) -> Status {
    const std::vector<std::pair<const char*, BenchFormat>> formats = {
        {"none", BenchFormat::kNone},   {"csv", BenchFormat::kCsv},
        {"json", BenchFormat::kJson},   {"jsonl", BenchFormat::kJsonl},
        {"md", BenchFormat::kMarkdown}, {"sql", BenchFormat::kSql}};
    for (const auto& [name, format] : formats)
      if (text == name) {
        field = format;
        return {};
      }
    return fail(ErrorKind::kUsage, "must be csv, json, jsonl, md, sql or none");
  };
}

auto whole_number(int& field, int64_t least) {
  return [&field, least](const std::string& text) -> Status {
    SLUICE_ASSIGN(const int64_t value, parse_integer(text, least, 1000000));
    field = static_cast<int>(value);
    return {};
  };
}

std::vector<Flag> bench_flags(BenchRequest& r) {
  std::vector<Flag> flags;
  const auto add = [&flags](Flag flag) { flags.push_back(std::move(flag)); };
  add({"--n-prompt", {"-p"}, "", "N", "tests that read N tokens (512)", appending(r.prompt)});
  add({"--n-gen", {"-n"}, "", "N", "tests that generate N tokens (128)", appending(r.generate)});
  add({"-pg",
       {},
       "",
       "PP,TG",
       "a test that reads PP tokens and then generates TG",
       [&r](const std::string& text) -> Status {
         const std::vector<std::string> parts = split(text);
         if (parts.size() != 2) return fail(ErrorKind::kUsage, "must be two numbers, e.g. 512,128");
         SLUICE_ASSIGN(const int64_t prompt, parse_integer(parts[0], 0, kMost));
         SLUICE_ASSIGN(const int64_t generate, parse_integer(parts[1], 0, kMost));
         r.both.emplace_back(prompt, generate);
         return {};
       }});
  add({"--repetitions",
       {"-r"},
       "",
       "N",
       "repetitions of each test (5)",
       whole_number(r.repetitions, 1)});
  add({"--delay", {}, "", "SECONDS", "rest before each test (0)", whole_number(r.delay, 0)});
  add({"--no-warmup", {}, "", "", "no warm-up before each test", switching(r.warmup, false)});
  add({"--progress", {}, "", "", "tell on standard error what runs", switching(r.progress, true)});
  add({"--experts",
       {},
       "",
       "",
       "show where the experts were: hits, bytes read, rate, time waited",
       switching(r.experts, true)});
  add({"--output",
       {"-o"},
       "",
       "FORMAT",
       "csv, json, jsonl, md, sql or none, to standard output (md)",
       output_format(r.output)});
  add({"--output-err",
       {"-oe"},
       "",
       "FORMAT",
       "the same, to standard error (none)",
       output_format(r.error_output)});
  // llama-bench has no variables in the environment for these: neither have we.
  for (size_t i = 0; i < bench_parameters().size(); ++i) {
    const BenchParameter& p = bench_parameters()[i];
    const std::string fallback = p.fallback.empty() ? "" : fmt::format(" ({})", p.fallback);
    add({p.flag, p.aliases, "", p.value, p.help + fallback, appending(r, i, p.parse)});
  }
  const size_t mode = index_of("load_mode");
  add({"--mmap",
       {"-mmp"},
       "",
       "0|1",
       "-lm mmap or none",
       appending(r, mode, load_mode("mmap", "none"))});
  add({"--direct-io",
       {"-dio"},
       "",
       "0|1",
       "-lm dio or none",
       appending(r, mode, load_mode("dio", "none"))});
  for (Flag& flag : model_flags(r.common))
    for (const char* name :
         {"--hf-repo", "--hf-file", "--hf-token", "--model-url", "--offline", "--ram", "--vram",
          "--disk-profile", "--warm-start", "--rope-scaling", "--rope-scale", "--rope-freq-base",
          "--yarn-orig-ctx", "--log-verbosity", "--verbose"})
      if (flag.name == name) {
        add(std::move(flag));
        break;
      }
  return flags;
}

}  // namespace

Result<std::vector<int64_t>> parse_ranges(const std::string& text, int64_t least, int64_t most) {
  std::vector<int64_t> values;
  std::string_view rest = text;
  do {
    Range range;
    if (!take_range(rest, least < 0, range) || (!rest.empty() && !take(rest, ',')))
      return fail(ErrorKind::kUsage,
                  "must be a list of numbers or ranges: 512,1024 or 1-8 or 1-8+2 or 1-8*2");
    if (range.first < least || range.first > most || range.last > most)
      return fail(ErrorKind::kUsage, "values must be from {} to {}", least, most);
    if (range.last < range.first)
      return fail(ErrorKind::kUsage, "the range from {} to {} is empty", range.first, range.last);
    for (int64_t value = range.first; value <= range.last;) {
      if (values.size() == kMostValues)
        return fail(ErrorKind::kUsage, "more than {} values", kMostValues);
      values.push_back(value);
      if (value == range.last) break;
      int64_t next = 0;
      const bool overflow = range.multiply ? __builtin_mul_overflow(value, range.step, &next)
                                           : __builtin_add_overflow(value, range.step, &next);
      if (overflow) break;
      if (next <= value)
        return fail(ErrorKind::kUsage, "the range from {} to {} does not advance", range.first,
                    range.last);
      value = next;
    }
  } while (!rest.empty());
  return values;
}

const std::vector<BenchParameter>& bench_parameters() {
  static const std::vector<BenchParameter> all = make_parameters();
  return all;
}

std::vector<std::string> BenchRequest::list(const std::string& field) const {
  const size_t index = index_of(field);
  if (index < values.size() && !values[index].empty()) return values[index];
  return {bench_parameters()[index].fallback};
}

bool BenchRequest::shown(const std::string& field) const {
  const std::vector<std::string> all = list(field);
  return all.size() > 1 || all[0] != bench_parameters()[index_of(field)].fallback;
}

const std::string& BenchCase::value(const std::string& field) const {
  return values[index_of(field)];
}

std::vector<std::string>& BenchRequest::models() {
  return values[index_of("model_filename")];
}

int64_t BenchCase::integer(const std::string& field) const {
  return std::stoll(value(field));
}

Result<bool> parse_bench(const std::vector<std::string>& arguments, BenchRequest& request) {
  request.values.resize(bench_parameters().size());
  std::vector<std::string> positional;
  SLUICE_ASSIGN(
      const bool go,
      parse_flags("bench",
                  "Measures how fast models read prompts and generate, with llama-bench's flags, "
                  "tests and output.\nLists (512,1024), ranges (1-8, 1-8+2, 1-8*2) and repeated "
                  "flags: every combination is run.",
                  bench_flags(request), arguments, &positional));
  if (!positional.empty())
    return fail(ErrorKind::kUsage, "{}: unexpected argument; models are given with -m",
                positional[0]);
  if (go && request.models().empty() && !request.common.source.given())
    return fail(ErrorKind::kUsage, "no model: give a GGUF file with -m");
  return go;
}

std::vector<BenchCase> bench_cases(const BenchRequest& request) {
  std::vector<std::vector<std::string>> lists;
  for (const BenchParameter& parameter : bench_parameters())
    lists.push_back(request.list(parameter.field));
  const std::vector<int64_t> fallback_prompt = {512}, fallback_generate = {128};

  std::vector<BenchCase> cases;
  std::vector<size_t> at(lists.size(), 0);
  for (bool more = true; more;) {
    BenchCase one;
    for (size_t i = 0; i < lists.size(); ++i) one.values.push_back(lists[i][at[i]]);
    const auto add = [&](int64_t prompt, int64_t generate) {
      if (prompt + generate == 0) return;
      one.test = {prompt, generate, one.integer("n_depth")};
      cases.push_back(one);
    };
    for (const int64_t n : request.prompt.empty() ? fallback_prompt : request.prompt) add(n, 0);
    for (const int64_t n : request.generate.empty() ? fallback_generate : request.generate)
      add(0, n);
    for (const auto& [prompt, generate] : request.both) add(prompt, generate);

    // The next combination, the last parameter changing fastest.
    more = false;
    for (size_t i = lists.size(); i-- > 0 && !more;) {
      more = ++at[i] < lists[i].size();
      if (!more) at[i] = 0;
    }
  }
  return cases;
}

}  // namespace sluice::apps
