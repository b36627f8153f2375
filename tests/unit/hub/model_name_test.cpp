// SPDX-License-Identifier: Apache-2.0
#include "hub/model_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::hub {
namespace {

using testing::HasSubstr;

const std::string kHash(64, 'a');

std::vector<RepoFile> files(const std::vector<std::string>& paths) {
  std::vector<RepoFile> out;
  for (const std::string& path : paths) out.push_back({path, 1000, kHash, kHash});
  return out;
}

std::string chosen(const std::vector<std::string>& paths, const std::string& name,
                   const std::string& file = "") {
  const auto result = choose_files(files(paths), *ModelName::parse(name), file);
  if (!result) return "error: " + result.error().message;
  std::string out;
  for (const RepoFile& one : *result) out += (out.empty() ? "" : " ") + one.path;
  return out;
}

TEST(ModelNameTest, Names) {
  const auto name = ModelName::parse("unsloth/Qwen3-30B-A3B-GGUF:Q4_K_M");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->id(), "unsloth/Qwen3-30B-A3B-GGUF");
  EXPECT_EQ(name->tag, "Q4_K_M");
  EXPECT_EQ(ModelName::parse("a/b")->tag, "");
  for (const char* bad :
       {"", "a", "a/", "/b", "a/b/c", "a/b:", "a/..", "../b", "a/b:c:d", "a/b:c/d", "a b/c",
        "a--b/c", "a/b--c", "-a/b", ".a/b", "a/b\n", "a/b\\c", "a/ü"})
    EXPECT_FALSE(ModelName::parse(bad)) << bad;
  EXPECT_FALSE(ModelName::parse(std::string(97, 'x') + "/y"));
}

TEST(ModelNameTest, Quantisations) {
  EXPECT_EQ(quantisation_of("Q4_K_M/Model-Q4_K_M-00001-of-00002.gguf"), "Q4_K_M");
  EXPECT_EQ(quantisation_of("qwen3-30b-a3b-q8_0.gguf"), "Q8_0");
  EXPECT_EQ(quantisation_of("Model.IQ2_XXS.gguf"), "IQ2_XXS");
  EXPECT_EQ(quantisation_of("Model-UD-Q4_K_XL.gguf"), "Q4_K_XL");
  EXPECT_EQ(quantisation_of("Model-BF16.gguf"), "BF16");
  EXPECT_EQ(quantisation_of("gpt-oss-20b-MXFP4.gguf"), "MXFP4");
  EXPECT_EQ(quantisation_of("Qwen3-30B-A3B.gguf"), "");
  EXPECT_EQ(quantisation_of(""), "");
}

TEST(ModelNameTest, TheTagChooses) {
  const std::vector<std::string> all = {"m-Q4_K_M.gguf",    "m-Q4_K.gguf",        "m-Q8_0.gguf",
                                        "m-UD-Q4_K_M.gguf", "mmproj-Q4_K_M.gguf", "README.md"};
  EXPECT_EQ(chosen(all, "o/m"), "m-Q4_K_M.gguf");
  EXPECT_EQ(chosen(all, "o/m:q4_k_m"), "m-Q4_K_M.gguf");
  EXPECT_EQ(chosen(all, "o/m:Q4_K"), "m-Q4_K.gguf");
  EXPECT_EQ(chosen(all, "o/m:UD-Q4_K_M"), "m-UD-Q4_K_M.gguf");
  EXPECT_THAT(chosen(all, "o/m:Q6_K"),
              HasSubstr("o/m has no Q6_K: choose one with o/m:QUANTISATION"));
  EXPECT_EQ(chosen(all, "o/m:Q6_K", "m-Q8_0.gguf"), "m-Q8_0.gguf");
  EXPECT_EQ(chosen(all, "o/m", "mmproj-Q4_K_M.gguf"), "mmproj-Q4_K_M.gguf");
  EXPECT_THAT(chosen(all, "o/m", "m.gguf"), HasSubstr("has no file m.gguf"));
}

TEST(ModelNameTest, WithoutATagTheOnlyOneIsMeant) {
  EXPECT_EQ(chosen({"m-Q8_0.gguf"}, "o/m"), "m-Q8_0.gguf");
  EXPECT_THAT(chosen({"m-Q8_0.gguf", "m-Q2_K.gguf"}, "o/m"),
              HasSubstr("Q2_K (0.0 GiB), Q8_0 (0.0 GiB)"));
  EXPECT_THAT(chosen({"README.md"}, "o/m"), HasSubstr("no GGUF files"));
}

TEST(ModelNameTest, SeveralOfEqualRightAreNoChoice) {
  EXPECT_THAT(chosen({"a-Q4_K_M.gguf", "b-Q4_K_M.gguf"}, "o/m"),
              HasSubstr("several files for Q4_K_M"));
}

TEST(ModelNameTest, PartsComeInOrderAndAllOfThem) {
  EXPECT_EQ(
      chosen({"d/m-Q4_K_M-00002-of-00002.gguf", "d/m-Q4_K_M-00001-of-00002.gguf", "m-Q8_0.gguf"},
             "o/m"),
      "d/m-Q4_K_M-00001-of-00002.gguf d/m-Q4_K_M-00002-of-00002.gguf");
  EXPECT_EQ(chosen({"m-Q8_0-00002-of-00002.gguf", "m-Q8_0-00001-of-00002.gguf"}, "o/m",
                   "m-Q8_0-00002-of-00002.gguf"),
            "m-Q8_0-00001-of-00002.gguf m-Q8_0-00002-of-00002.gguf");
  EXPECT_THAT(chosen({"m-Q4_K_M-00001-of-00002.gguf"}, "o/m"), HasSubstr("lacks part 2 of 2"));
}

TEST(ModelNameTest, ListedFilesThatWouldLeaveTheirFolder) {
  const auto ok = [](const std::string& path) { return bool{check_file({path, 1, kHash, kHash})}; };
  EXPECT_TRUE(ok("a/b.gguf"));
  EXPECT_TRUE(ok("...gguf"));
  for (const std::string bad :
       {"", "/a", "../a", "a/../b", "a/..", "..", ".", "a//b", "a/./b", "a/", "a\\b", "a\nb"})
    EXPECT_FALSE(ok(bad)) << bad;
  EXPECT_FALSE(ok(std::string("a\0b", 3)));
  EXPECT_FALSE(check_file({"a", 1, "../x", ""}));
  EXPECT_FALSE(check_file({"a", 1, std::string(63, 'a'), ""}));
  EXPECT_FALSE(check_file({"a", 1, kHash, "x"}));
  EXPECT_TRUE(check_file({"a", 1, std::string(40, 'b'), ""}));
}

TEST(ModelNameTest, Revisions) {
  EXPECT_TRUE(is_commit(std::string(40, 'a')));
  for (const std::string& bad :
       {std::string(39, 'a'), std::string(41, 'a'), std::string(40, 'g'), std::string()})
    EXPECT_FALSE(is_commit(bad)) << bad;
  for (const char* good : {"m.gguf", "a/M.GGUF", "a.b.Gguf"})
    EXPECT_TRUE(is_gguf_name(good)) << good;
  for (const char* bad : {"", "gguf", "m.gguf/", "m.gguf.part", "mgguf"})
    EXPECT_FALSE(is_gguf_name(bad)) << bad;
  for (const char* good : {"main", "v1.0", "refs/pr/1"}) EXPECT_TRUE(is_revision(good)) << good;
  for (const char* bad : {"", "../x", "a/../b", "/a", "a/", "-x", "a b", "a//b", ".git", "a\\b"})
    EXPECT_FALSE(is_revision(bad)) << bad;
}

}  // namespace
}  // namespace sluice::hub
