// SPDX-License-Identifier: Apache-2.0
// Multi-letter short forms (-ngl, -ctk) are the norm among llama.cpp's users; option libraries do
// not take them, so the table is read here.
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <map>
#include <set>

#include "apps/options.h"
#include "base/log.h"

namespace sluice::apps {
namespace {

// Flags of llama.cpp that do not change anything here. The second member: how many values follow.
const std::map<std::string, int>& ignored_flags() {
  static const std::map<std::string, int> flags = {{"-sm", 1},
                                                   {"--split-mode", 1},
                                                   {"-ts", 1},
                                                   {"--tensor-split", 1},
                                                   {"-dev", 1},
                                                   {"--device", 1},
                                                   {"--numa", 1},
                                                   {"--rpc", 1},
                                                   {"-gan", 1},
                                                   {"--grp-attn-n", 1},
                                                   {"-gaw", 1},
                                                   {"--grp-attn-w", 1},
                                                   {"-dt", 1},
                                                   {"--defrag-thold", 1},
                                                   {"-fit", 1},
                                                   {"--fit", 1},
                                                   {"-fitt", 1},
                                                   {"--fit-target", 1},
                                                   {"-fitc", 1},
                                                   {"--fit-ctx", 1},
                                                   {"-lzm", 1},
                                                   {"--lazy-mode", 1},
                                                   {"--mlock", 0},
                                                   {"--no-mmap", 0},
                                                   {"--mmap", 0},
                                                   {"-nkvo", 0},
                                                   {"--no-kv-offload", 0},
                                                   {"-C", 1},
                                                   {"--cpu-mask", 1},
                                                   {"-Cr", 1},
                                                   {"--cpu-range", 1},
                                                   {"--cpu-strict", 1},
                                                   {"--prio", 1},
                                                   {"--poll", 1},
                                                   {"-tb", 1},
                                                   {"--threads-batch", 1},
                                                   {"--swa-full", 0},
                                                   {"-nr", 0},
                                                   {"--no-repack", 0},
                                                   {"--no-host", 0},
                                                   {"--no-op-offload", 0},
                                                   {"--check-tensors", 0},
                                                   {"--warmup", 0},
                                                   {"--no-warmup", 0},
                                                   {"--keep", 1},
                                                   {"--context-shift", 0},
                                                   {"--no-context-shift", 0},
                                                   {"-kvu", 0},
                                                   {"--kv-unified", 0},
                                                   {"-no-kvu", 0},
                                                   {"--no-perf", 0},
                                                   {"--perf", 0},
                                                   {"--adaptive-target", 1},
                                                   {"--adaptive-decay", 1},
                                                   {"--log-colors", 1},
                                                   {"--log-prefix", 0},
                                                   {"--log-timestamps", 0},
                                                   {"-cram", 1},
                                                   {"--cache-ram", 1},
                                                   {"-ctxcp", 1},
                                                   {"--ctx-checkpoints", 1},
                                                   {"-cms", 1},
                                                   {"--checkpoint-min-step", 1},
                                                   {"-cpent", 1},
                                                   {"--checkpoint-every-n-tokens", 1},
                                                   {"--spec-type", 1},
                                                   {"-md", 1},
                                                   {"--model-draft", 1},
                                                   {"--spec-draft-n-max", 1},
                                                   {"-np", 1},
                                                   {"--parallel", 1},
                                                   {"-cb", 0},
                                                   {"-nocb", 0},
                                                   {"--cont-batching", 0},
                                                   {"--no-cont-batching", 0},
                                                   {"--ui", 0},
                                                   {"--no-ui", 0},
                                                   {"--webui", 0},
                                                   {"--no-webui", 0},
                                                   {"--props", 0},
                                                   {"--cache-prompt", 0},
                                                   {"--no-cache-prompt", 0},
                                                   {"--cache-reuse", 1},
                                                   {"--reuse-port", 0},
                                                   {"-sps", 1},
                                                   {"--slot-prompt-similarity", 1},
                                                   {"-bs", 0},
                                                   {"--backend-sampling", 0}};
  return flags;
}

bool is_switch(const Flag& flag) {
  return flag.value.empty();
}

struct Spelling {
  const Flag* flag;
  bool negated;
};

std::map<std::string, Spelling> spellings(const std::vector<Flag>& flags) {
  std::map<std::string, Spelling> all;
  for (const Flag& flag : flags) {
    std::vector<std::string> names = flag.aliases;
    names.push_back(flag.name);
    for (const std::string& name : names) {
      all[name] = {&flag, false};
      if (!is_switch(flag)) continue;
      if (name.starts_with("--"))
        all["--no-" + name.substr(2)] = {&flag, true};
      else
        all["-no-" + name.substr(1)] = {&flag, true};
    }
  }
  return all;
}

struct Setting {
  const Flag* flag;
  std::string value;
  std::string spelling;  // as the user wrote it, for messages
};

// Puts what the environment says of flags that the command line left alone before the rest: where
// two flags set the same thing, the command line has the last word.
void add_environment(const std::vector<Flag>& flags, std::vector<Setting>& settings) {
  std::set<const Flag*> given;
  for (const Setting& setting : settings) given.insert(setting.flag);
  std::vector<Setting> all;
  for (const Flag& flag : flags) {
    if (flag.variable.empty() || given.contains(&flag)) continue;
    for (const char* prefix : {"SLUICE_ARG_", "LLAMA_ARG_"}) {
      const char* value = std::getenv((prefix + flag.variable).c_str());
      if (!value || !*value) continue;
      all.push_back({&flag, value, prefix + flag.variable});
      break;
    }
  }
  all.insert(all.end(), settings.begin(), settings.end());
  settings = std::move(all);
}

Result<std::vector<Setting>> read_arguments(const std::string& command,
                                            const std::vector<Flag>& flags,
                                            const std::vector<std::string>& arguments,
                                            std::vector<std::string>* positional, bool& help) {
  const std::map<std::string, Spelling> known = spellings(flags);
  std::vector<Setting> settings;
  std::set<std::string> warned;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "-h" || argument == "--help" || argument == "--usage") {
      help = true;
      continue;
    }
    if (argument.size() < 2 || argument[0] != '-') {
      if (!positional)
        return fail(ErrorKind::kUsage, "{}: unexpected argument; a prompt is given with -p",
                    argument);
      positional->push_back(argument);
      continue;
    }
    const size_t equals = argument.starts_with("--") ? argument.find('=') : std::string::npos;
    std::string name = argument.substr(0, equals);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = argument.substr(equals + 1);

    auto found = known.find(name);
    if (found == known.end() && name.starts_with("--")) {
      // llama.cpp takes --top_k for --top-k.
      std::replace(name.begin() + 2, name.end(), '_', '-');
      found = known.find(name);
    }
    if (found == known.end()) {
      const auto ignored = ignored_flags().find(name);
      if (ignored == ignored_flags().end())
        return fail(ErrorKind::kUsage, "{}: unknown flag; `sluice {} --help` lists all", argument,
                    command);
      if (warned.insert(name).second) spdlog::warn("{} changes nothing here", name);
      if (!value) i += static_cast<size_t>(ignored->second);
      continue;
    }
    const Flag& flag = *found->second.flag;
    if (is_switch(flag)) {
      const Result<bool> on = parse_bool(value.value_or("true"));
      if (!on) return fail(ErrorKind::kUsage, "{}: {}", argument, on.error().message);
      value = *on != found->second.negated ? "true" : "false";
    } else if (!value) {
      if (++i >= arguments.size())
        return fail(ErrorKind::kUsage, "{}: needs a value ({})", argument, flag.value);
      value = arguments[i];
    }
    settings.push_back({&flag, *value, argument.substr(0, equals)});
  }
  return settings;
}

void print_help(const std::string& command, const std::string& description,
                const std::vector<Flag>& flags) {
  constexpr size_t kColumn = 38;
  std::string text = fmt::format("{}\n\nUsage: sluice {} [flags]\n\n", description, command);
  for (const Flag& flag : flags) {
    std::string names;
    for (const std::string& alias : flag.aliases) names += alias + ", ";
    names += flag.name;
    if (!is_switch(flag)) names += " " + flag.value;
    text += "  " + names;
    text += names.size() + 2 < kColumn ? std::string(kColumn - names.size() - 2, ' ')
                                       : "\n" + std::string(kColumn, ' ');
    text += flag.help;
    if (!flag.variable.empty()) text += fmt::format(" (LLAMA_ARG_{})", flag.variable);
    text += '\n';
  }
  std::fputs(text.c_str(), stdout);
}

// The system's functions would skip blanks before one.
bool starts_a_number(const std::string& text) {
  return !text.empty() && !std::isspace(static_cast<unsigned char>(text[0]));
}

}  // namespace

const TableReader* table_reader = nullptr;

Result<bool> parse_flags(const std::string& command, const std::string& description,
                         const std::vector<Flag>& flags, const std::vector<std::string>& arguments,
                         std::vector<std::string>* positional) {
  if (table_reader != nullptr) {
    (*table_reader)(command, description, flags);
    return false;
  }
  bool help = false;
  SLUICE_ASSIGN(std::vector<Setting> settings,
                read_arguments(command, flags, arguments, positional, help));
  if (help) {
    print_help(command, description, flags);
    return false;
  }
  add_environment(flags, settings);
  for (const Setting& setting : settings) {
    std::string value = setting.value;
    if (is_switch(*setting.flag)) {
      const Result<bool> on = parse_bool(value);
      if (!on) return fail(ErrorKind::kUsage, "{}: {}", setting.spelling, on.error().message);
      value = *on ? "true" : "false";
    }
    if (Status done = setting.flag->set(value); !done)
      return fail(done.error().kind, "{} {}: {}", setting.spelling, setting.value,
                  done.error().message);
  }
  return true;
}

Result<int64_t> parse_integer(const std::string& text, int64_t least, int64_t most) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (!starts_a_number(text) || *end || errno || value < least || value > most)
    return fail(ErrorKind::kUsage, "must be a whole number from {} to {}", least, most);
  return value;
}

Result<double> parse_number(const std::string& text, double least, double most) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (!starts_a_number(text) || *end || !(value >= least && value <= most))
    return fail(ErrorKind::kUsage, "must be a number from {} to {}", least, most);
  return value;
}

Result<bool> parse_bool(const std::string& text) {
  for (const char* on : {"true", "1", "on", "enabled"})
    if (text == on) return true;
  for (const char* off : {"false", "0", "off", "disabled"})
    if (text == off) return false;
  return fail(ErrorKind::kUsage, "\"{}\" must be on or off", text);
}

Result<uint64_t> parse_size(const std::string& text) {
  constexpr const char* kForms = "must be a size such as 12G, 900M, 1.5GiB or a number of bytes";
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  // Only digits and a point: strtod also takes a sign, exponents and words.
  const std::string digits = text.substr(0, static_cast<size_t>(end - text.c_str()));
  if (digits.empty() || digits.find_first_not_of("0123456789.") != std::string::npos)
    return fail(ErrorKind::kUsage, kForms);
  std::string unit = end;
  for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  double factor = 1;
  if (!unit.empty() && unit != "b") {
    const size_t power = std::string_view("kmgt").find(unit[0]);
    const std::string_view rest = std::string_view(unit).substr(1);
    if (power == std::string_view::npos || (rest != "" && rest != "ib" && rest != "b"))
      return fail(ErrorKind::kUsage, kForms);
    factor = std::pow(rest == "b" ? 1000.0 : 1024.0, static_cast<double>(power + 1));
  }
  const double bytes = number * factor;
  if (bytes >= 0x1p63) return fail(ErrorKind::kUsage, "is more than any machine has");
  if (factor == 1 && bytes != std::floor(bytes)) return fail(ErrorKind::kUsage, kForms);
  return static_cast<uint64_t>(bytes);
}

Result<std::string> read_text_file(const std::string& path) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  SLUICE_ASSIGN(const storage::File file, storage::File::open(path));
  std::string text(file.size(), '\0');
  SLUICE_TRY(file.read_at(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()}));
  return text;
}

}  // namespace sluice::apps
