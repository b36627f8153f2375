// SPDX-License-Identifier: Apache-2.0
#include "storage/cache_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "temporary.h"

namespace sluice::storage {
namespace {

using testing::HasSubstr;

// Sets a variable of the environment, or unsets it, until the test ends.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Variable() { set(old_ ? old_->c_str() : nullptr); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  void set(const char* value) {
    if (value == nullptr) {
      unsetenv(name_);
    } else {
      setenv(name_, value, 1);
    }
  }
  const char* name_;
  std::optional<std::string> old_;
};

TEST(CacheFolder, FollowsTheEnvironment) {
  const Variable home("HOME", "/home/someone");
  {
    const Variable cache("XDG_CACHE_HOME", "/var/tmp/cache");
    EXPECT_EQ(cache_folder(), "/var/tmp/cache/sluice");
  }
  for (const char* unusable : {"relative/path", "", static_cast<const char*>(nullptr)}) {
    const Variable cache("XDG_CACHE_HOME", unusable);
    EXPECT_EQ(cache_folder(), "/home/someone/.cache/sluice");
    const Variable homeless("HOME", nullptr);
    EXPECT_EQ(cache_folder(), "");
  }
}

TEST(SmallFile, IsReplacedAndReadBack) {
  const TemporaryFolder folder;
  const std::string path = folder / "some/new/folders/file";
  ASSERT_TRUE(replace_small_file(path, "first"));
  ASSERT_TRUE(replace_small_file(path, std::string("second\0text", 11)));
  const auto text = read_small_file(path, 11);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text, std::string("second\0text", 11));
  int files = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator(folder / "some/new/folders")) {
    ++files;
  }
  EXPECT_EQ(files, 1) << "no temporary file is left";
}

TEST(SmallFile, Errors) {
  const TemporaryFolder folder;
  ASSERT_TRUE(replace_small_file(folder / "file", "0123456789"));
  const auto large = read_small_file(folder / "file", 9);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().kind, ErrorKind::kTooLarge);
  EXPECT_EQ(read_small_file(folder / "absent", 9).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(read_small_file(folder.path(), 9).error().kind, ErrorKind::kBadFile);
  for (const std::string& path : {folder / "file/below", std::string("/proc/absent/file")}) {
    const Status status = replace_small_file(path, "text");
    ASSERT_FALSE(status) << path;
    EXPECT_EQ(status.error().kind, ErrorKind::kIo);
    EXPECT_THAT(status.error().message, HasSubstr(path));
  }
  std::filesystem::create_directory(folder / "folder");
  EXPECT_FALSE(replace_small_file(folder / "folder", "text"));
}

}  // namespace
}  // namespace sluice::storage
