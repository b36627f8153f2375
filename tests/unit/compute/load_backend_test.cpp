// SPDX-License-Identifier: Apache-2.0
#include "compute/load_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace sluice::compute {
namespace {

using testing::HasSubstr;

class LoadBackend : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

TEST_F(LoadBackend, TellsWhereItLooked) {
  const auto there = load_backend("none", {}, folder_.string());
  ASSERT_FALSE(there);
  EXPECT_EQ(there.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(there.error().message, HasSubstr("libsluice_none.so is not in " + folder_.string()));
  const auto beside = load_backend("none", {});
  ASSERT_FALSE(beside);
  EXPECT_EQ(beside.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(beside.error().message, HasSubstr("/lib/sluice"));
}

TEST_F(LoadBackend, WhatIsNoLibraryIsRefused) {
  std::ofstream(folder_ / "libsluice_text.so") << "not a library";
  const auto loaded = load_backend("text", {}, folder_.string());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().kind, ErrorKind::kDevice);
  EXPECT_THAT(loaded.error().message, HasSubstr("libsluice_text.so"));
}

#ifdef SLUICE_BACKEND_FOLDER
// With a device it opens, without one it tells what is missing; a device that is not there is
// named.
TEST_F(LoadBackend, CudaOpensOrTellsWhyNot) {
  const auto loaded = load_backend("cuda", {}, SLUICE_BACKEND_FOLDER);
  if (!loaded) {
    EXPECT_EQ(loaded.error().kind, ErrorKind::kDevice);
    EXPECT_THAT(loaded.error().message, HasSubstr("NVIDIA"));
    return;
  }
  EXPECT_EQ(loaded->name(), "CUDA");
  Backend::Options options;
  options.device = 1000;
  const auto missing = load_backend("cuda", options, SLUICE_BACKEND_FOLDER);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("device 1000"));
}
#endif

}  // namespace
}  // namespace sluice::compute
