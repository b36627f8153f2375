// SPDX-License-Identifier: Apache-2.0
#include "report/memory_group.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "report/sample.h"
#include "report/small_files.h"

namespace sluice::report {
namespace {

struct Place {
  std::string folder;
  int version;
};

bool has_word(const std::string& list, const std::string& word, char between) {
  std::istringstream words(list);
  for (std::string one; std::getline(words, one, between);)
    if (one == word) return true;
  return false;
}

// Where groups with a limit may be made, the likeliest first.
std::vector<Place> places() {
  std::string path_v1, path_v2;
  bool in_v1 = false, in_v2 = false;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) {
      path_v2 = line.substr(second + 1);
      in_v2 = true;
    } else if (has_word(controllers, "memory", ',')) {
      path_v1 = line.substr(second + 1);
      in_v1 = true;
    }
  }
  std::vector<Place> all;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line), after(line.substr(dash + 3));
    std::string id, parent, device, root, point, kind, source, options;
    before >> id >> parent >> device >> root >> point;
    after >> kind >> source >> options;
    if (kind == "cgroup" && in_v1 && has_word(options, "memory", ',')) {
      all.push_back({point + (path_v1 == "/" ? "" : path_v1), 1});
    } else if (kind == "cgroup2" && in_v2) {
      // A group with processes of its own cannot have others below it that use a controller, but
      // for the topmost; so beside it is the next place to try.
      const std::string own = point + (path_v2 == "/" ? "" : path_v2);
      for (const std::string& folder : {own, std::filesystem::path(own).parent_path().string()})
        if (has_word(first_line(folder + "/cgroup.subtree_control"), "memory", ' '))
          all.push_back({folder, 2});
    }
  }
  return all;
}

bool write_to(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  return !file.fail();
}

}  // namespace

Result<MemoryGroup> MemoryGroup::create(uint64_t limit) {
  static std::atomic<int> count{0};
  for (const Place& place : places()) {
    const std::string folder =
        fmt::format("{}/sluice-report-{}-{}", place.folder, getpid(), ++count);
    std::error_code error;
    if (!std::filesystem::create_directory(folder, error)) continue;
    MemoryGroup group(folder, place.version, limit);
    const bool v1 = place.version == 1;
    if (!write_to(folder + (v1 ? "/memory.limit_in_bytes" : "/memory.max"), std::to_string(limit)))
      continue;
    // Not every kernel has these.
    write_to(folder + (v1 ? "/memory.swappiness" : "/memory.swap.max"), "0");
    return group;
  }
  return fail(ErrorKind::kUnsupported,
              "--memory: this user may not make a control group with a limit: run it as root, or "
              "under `systemd-run --user --scope -p MemoryMax={}` without --memory",
              limit);
}

MemoryGroup::MemoryGroup(MemoryGroup&& other) noexcept
    : folder_(std::exchange(other.folder_, "")), version_(other.version_), limit_(other.limit_) {}

MemoryGroup::~MemoryGroup() {
  if (folder_.empty()) return;
  // Who has just ended may still be counted.
  for (int i = 0; i < 100 && rmdir(folder_.c_str()) != 0 && errno == EBUSY; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

uint64_t MemoryGroup::kills() const {
  const double kills =
      field_of(folder_ + (version_ == 1 ? "/memory.oom_control" : "/memory.events"), "oom_kill ");
  return known(kills) ? static_cast<uint64_t>(kills) : 0;
}

}  // namespace sluice::report
