// SPDX-License-Identifier: Apache-2.0
#include "storage/cache_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <system_error>

#include "storage/file.h"

namespace sluice::storage {
namespace {

std::string absolute_path_in(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && value[0] == '/' ? value : "";
}

bool write_all(int descriptor, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = ::write(descriptor, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    done += static_cast<size_t>(written);
  }
  return true;
}

}  // namespace

std::string cache_folder() {
  if (const std::string cache = absolute_path_in("XDG_CACHE_HOME"); !cache.empty()) {
    return cache + "/sluice";
  }
  const std::string home = absolute_path_in("HOME");
  return home.empty() ? "" : home + "/.cache/sluice";
}

Result<std::string> read_small_file(const std::string& path, uint64_t most) {
  SLUICE_ASSIGN(const File file, File::open(path));
  if (file.size() > most) {
    return fail(ErrorKind::kTooLarge, "{}: {} bytes where at most {} belong: delete it", path,
                file.size(), most);
  }
  std::string text(file.size(), '\0');
  SLUICE_TRY(file.read_at(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()}));
  return text;
}

Status replace_small_file(const std::string& path, const std::string& text) {
  const auto failed = [&](int error) {
    return fail(ErrorKind::kIo, "{}: cannot write: {}", path,
                std::error_code(error, std::generic_category()).message());
  };
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return failed(error.value());
  std::string fresh = path + ".XXXXXX";
  const int descriptor = ::mkostemp(fresh.data(), O_CLOEXEC);
  if (descriptor < 0) return failed(errno);
  const bool written = write_all(descriptor, text);
  const int reason = errno;
  ::close(descriptor);
  if (written && ::rename(fresh.c_str(), path.c_str()) == 0) return {};
  const int final_reason = written ? errno : reason;
  ::unlink(fresh.c_str());
  return failed(final_reason);
}

}  // namespace sluice::storage
