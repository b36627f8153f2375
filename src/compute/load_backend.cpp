// SPDX-License-Identifier: Apache-2.0
#include "compute/load_backend.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>
#include <vector>

namespace sluice::compute {
namespace {

namespace fs = std::filesystem;

// Beside the program, and where this code is part of a library beside that.
std::vector<fs::path> folders(const std::string& folder) {
  if (!folder.empty()) return {folder};
  std::vector<fs::path> out;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) out = {program.parent_path(), program.parent_path().parent_path() / "lib" / "sluice"};
  Dl_info mine = {};
  if (dladdr(reinterpret_cast<const void*>(&load_backend), &mine) == 0 || mine.dli_fname == nullptr)
    return out;
  const fs::path library = fs::canonical(mine.dli_fname, error);
  if (error || library == program) return out;
  const fs::path place = library.parent_path();
  out.insert(out.end(), {place, place / "sluice", place.parent_path() / "sluice"});
  return out;
}

}  // namespace

Result<Backend> load_backend(std::string_view name, const Backend::Options& options,
                             const std::string& folder) {
  const std::string file = fmt::format("libsluice_{}.so", name);
  std::string looked;
  for (const fs::path& place : folders(folder)) {
    const fs::path path = place / file;
    std::error_code error;
    if (!fs::exists(path, error)) {
      looked += (looked.empty() ? "" : " and ") + place.string();
      continue;
    }
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library)
      return fail(ErrorKind::kDevice, "{}: {}: build or install it for this machine", path.string(),
                  dlerror());
    const auto entry = reinterpret_cast<sluice_backend_entry>(dlsym(library, SLUICE_BACKEND_ENTRY));
    if (!entry)
      return fail(ErrorKind::kDevice,
                  "{}: no symbol {}: install program and backend from one build", path.string(),
                  SLUICE_BACKEND_ENTRY);
    return Backend::open(entry(), options);
  }
  return fail(ErrorKind::kNotFound,
              "no backend {}: {} is not in {}: build with -DSLUICE_CUDA=ON, or choose the CPU",
              name, file, looked.empty() ? "the program's folder" : looked);
}

}  // namespace sluice::compute
