// SPDX-License-Identifier: Apache-2.0
#include "base/memory_info.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace sluice {
namespace {

// Version 1 writes "no limit" as the largest number of whole pages.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;

std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  if (end != text.data() + text.size() && *end != '\n') return std::nullopt;
  return value;
}

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<uint64_t> number_in(const std::string& path) {
  const auto line = first_line(path);
  return line ? number_of(*line) : std::nullopt;
}

// The number behind `name` in lines of "name number" or "name: number kB".
std::optional<uint64_t> field_of(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string key, value;
    if (!(words >> key >> value)) continue;
    if (key.ends_with(':')) key.pop_back();
    if (key == name) return number_of(value);
  }
  return std::nullopt;
}

uint64_t kib(uint64_t count) {
  return std::min(count, kNoLimit >> 10) << 10;
}

uint64_t minus(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

class Bounds {
 public:
  void add(uint64_t limit, uint64_t available, std::string source, bool address_space = false) {
    const MemoryBound bound{limit, std::min(limit, available), std::move(source)};
    if (!info_) info_ = MemoryInfo{bound, bound, {}};
    if (bound.limit < info_->least_limit.limit) info_->least_limit = bound;
    if (bound.available < info_->least_available.available) info_->least_available = bound;
    MemoryBound& backed = info_->least_backed;
    if (!address_space && (backed.limit == 0 || bound.available < backed.available)) backed = bound;
  }
  const std::optional<MemoryInfo>& info() const { return info_; }

 private:
  std::optional<MemoryInfo> info_;
};

void add_machine(const std::string& root, Bounds& bounds) {
  const std::string path = root + "/proc/meminfo";
  const auto total = field_of(path, "MemTotal");
  auto available = field_of(path, "MemAvailable");
  if (!available) {  // before Linux 3.14
    const auto unused = field_of(path, "MemFree");
    const auto cached = field_of(path, "Cached");
    if (unused && cached) available = std::min(*unused, kNoLimit) + std::min(*cached, kNoLimit);
  }
  if (total && available) bounds.add(kib(*total), kib(*available), "/proc/meminfo");
}

// "Max address space  LIMIT  LIMIT  bytes" of /proc/self/limits; the first is the one in force.
std::optional<uint64_t> resource_limit(const std::string& root, std::string_view name) {
  std::ifstream file(root + "/proc/self/limits");
  std::string line;
  while (std::getline(file, line)) {
    if (!std::string_view(line).starts_with(name)) continue;
    std::istringstream words(line.substr(name.size()));
    std::string limit;
    words >> limit;
    return number_of(limit);  // nothing for "unlimited"
  }
  return std::nullopt;
}

void add_resource_limits(const std::string& root, Bounds& bounds) {
  struct {
    const char* limit;
    const char* used;
    const char* source;
  } const kinds[] = {{"Max address space", "VmSize", "ulimit -v"},
                     {"Max data size", "VmData", "ulimit -d"}};
  for (const auto& kind : kinds) {
    const auto limit = resource_limit(root, kind.limit);
    const auto used = field_of(root + "/proc/self/status", kind.used);
    if (limit && used) bounds.add(*limit, minus(*limit, kib(*used)), kind.source, true);
  }
}

// A place in a hierarchy of cgroups, as folders.
struct Cgroup {
  bool version_2 = false;
  std::string mount;  // the topmost folder that can be seen
  std::string path;   // of the process's own cgroup, below it: "" or "/a/b"
};

// A word of mountinfo, where blanks and the like are octal: "\040".
std::string unescaped(std::string_view word) {
  std::string text;
  for (size_t i = 0; i < word.size(); ++i) {
    int code = 0;
    if (word[i] == '\\' && i + 3 < word.size() &&
        std::from_chars(word.data() + i + 1, word.data() + i + 4, code, 8).ptr ==
            word.data() + i + 4) {
      text += static_cast<char>(code);
      i += 3;
    } else {
      text += word[i];
    }
  }
  return text;
}

bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == word) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// The process's path in the hierarchy of the memory controller (version 1) or in the unified one.
std::optional<std::string> cgroup_path(const std::string& root, bool version_2) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {  // NUMBER:CONTROLLERS:PATH
    const size_t first = line.find(':');
    if (first == std::string::npos) continue;
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (version_2 ? line.starts_with("0::") : has_word(controllers, "memory"))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

std::vector<Cgroup> memory_cgroups(const std::string& root) {
  std::vector<Cgroup> found;
  std::ifstream file(root + "/proc/self/mountinfo");
  std::string line;
  while (std::getline(file, line)) {
    // ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS [FIELDS] - TYPE SOURCE SUPER_OPTIONS
    std::istringstream words(line);
    std::string id, parent, device, top, mount, word, type, source, options;
    words >> id >> parent >> device >> top >> mount;
    while (words >> word && word != "-") {
    }
    if (!(words >> type >> source >> options)) continue;
    const bool version_2 = type == "cgroup2";
    if (!version_2 && (type != "cgroup" || !has_word(options, "memory"))) continue;
    const auto path = cgroup_path(root, version_2);
    if (!path) continue;
    top = unescaped(top);
    Cgroup cgroup{version_2, root + unescaped(mount), ""};
    // In a container the mount may show only the part of the hierarchy from `top` on.
    if (top == "/")
      cgroup.path = *path;
    else if (path->starts_with(top) && (path->size() == top.size() || (*path)[top.size()] == '/'))
      cgroup.path = path->substr(top.size());
    // A path that leads out of what is shown tells nothing but its top.
    if (cgroup.path == "/" || cgroup.path.find("/..") != std::string::npos) cgroup.path.clear();
    found.push_back(std::move(cgroup));
  }
  return found;
}

void add_cgroup_folder(const std::string& root, bool version_2, const std::string& folder,
                       Bounds& bounds) {
  const std::string stat = folder + "/memory.stat";
  const auto used = number_in(folder + (version_2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (!used) return;
  uint64_t droppable = 0;
  const std::string total = version_2 ? "" : "total_";
  for (const char* kind : {"inactive_file", "active_file"})
    droppable += field_of(stat, total + kind).value_or(0);
  const auto add = [&](std::optional<uint64_t> limit, const std::string& source) {
    if (limit && *limit < kNoLimit)
      bounds.add(*limit, minus(*limit, minus(*used, droppable)), source.substr(root.size()));
  };
  if (version_2) {
    add(number_in(folder + "/memory.max"), folder + "/memory.max");
    add(number_in(folder + "/memory.high"), folder + "/memory.high");  // slowed down beyond it
  } else {
    add(number_in(folder + "/memory.limit_in_bytes"), folder + "/memory.limit_in_bytes");
    add(field_of(stat, "hierarchical_memory_limit"), stat);  // folders that are not shown count too
  }
}

void add_cgroups(const std::string& root, Bounds& bounds) {
  for (const Cgroup& cgroup : memory_cgroups(root)) {
    std::string path = cgroup.path;
    for (;;) {
      add_cgroup_folder(root, cgroup.version_2, cgroup.mount + path, bounds);
      if (path.empty()) break;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
}

// "some avg10=1.23 avg60=..."
std::optional<double> some_avg10(const std::string& path) {
  const auto line = first_line(path);
  constexpr std::string_view kBegin = "some avg10=";
  if (!line || !line->starts_with(kBegin)) return std::nullopt;
  const char* end = line->data() + line->size();
  double value = 0;
  const auto read = std::from_chars(line->data() + kBegin.size(), end, value);
  if (read.ec != std::errc{} || !(value >= 0 && value <= 100)) return std::nullopt;
  return value;
}

}  // namespace

std::optional<MemoryInfo> memory_info(const std::string& root) {
  Bounds bounds;
  add_machine(root, bounds);
  add_cgroups(root, bounds);
  add_resource_limits(root, bounds);
  return bounds.info();
}

std::optional<uint64_t> available_bytes(const std::string& root) {
  const auto info = memory_info(root);
  if (!info) return std::nullopt;
  return info->least_available.available;
}

std::optional<uint64_t> resident_bytes(const std::string& root) {
  const auto kibibytes = field_of(root + "/proc/self/status", "VmRSS");
  if (!kibibytes) return std::nullopt;
  return *kibibytes * 1024;
}

std::optional<double> memory_pressure(const std::string& root) {
  for (const Cgroup& cgroup : memory_cgroups(root)) {
    if (!cgroup.version_2) continue;
    if (const auto value = some_avg10(cgroup.mount + cgroup.path + "/memory.pressure"))
      return value;
  }
  return some_avg10(root + "/proc/pressure/memory");
}

}  // namespace sluice
