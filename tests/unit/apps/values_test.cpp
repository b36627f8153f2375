// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "../temp_folder.h"
#include "apps/options.h"

namespace sluice::apps {
namespace {

using testing::HasSubstr;

TEST(Values, Integers) {
  EXPECT_EQ(parse_integer("0", 0, 10).value(), 0);
  EXPECT_EQ(parse_integer("10", 0, 10).value(), 10);
  EXPECT_EQ(parse_integer("-7", -10, 10).value(), -7);
  EXPECT_EQ(parse_integer("9223372036854775807", 0, INT64_MAX).value(), INT64_MAX);
  for (const char* text : {"", " ", "-1", "11", "1.5", "1e1", "5x", "5 ", " 5", "\t5", "x", "0x5",
                           "99999999999999999999", "-99999999999999999999", "--5", "five"}) {
    const auto value = parse_integer(text, 0, 10);
    ASSERT_FALSE(value) << text;
    EXPECT_EQ(value.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(value.error().message, HasSubstr("from 0 to 10"));
  }
  EXPECT_FALSE(parse_integer("9223372036854775808", INT64_MIN, INT64_MAX));
}

TEST(Values, Numbers) {
  EXPECT_EQ(parse_number("0.5", 0, 1).value(), 0.5);
  EXPECT_EQ(parse_number("1", 0, 1).value(), 1);
  EXPECT_EQ(parse_number("1e-3", 0, 1).value(), 1e-3);
  EXPECT_EQ(parse_number(".25", 0, 1).value(), 0.25);
  for (const char* text : {"", " ", "1.01", "-0.1", "0.5x", "0.5 ", " 0.5", "nan", "inf", "-inf",
                           "0,5", "1e400", "half"}) {
    const auto value = parse_number(text, 0, 1);
    ASSERT_FALSE(value) << text;
    EXPECT_EQ(value.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(value.error().message, HasSubstr("from 0 to 1"));
  }
}

TEST(Values, Sizes) {
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  EXPECT_EQ(parse_size("0").value(), 0u);
  EXPECT_EQ(parse_size("123456789012").value(), 123456789012u);
  EXPECT_EQ(parse_size("123b").value(), 123u);
  for (const char* text : {"12G", "12g", "12GiB", "12gib", "12.0G", "12288M", "12884901888"})
    EXPECT_EQ(parse_size(text).value(), 12 * kGiB) << text;
  EXPECT_EQ(parse_size("900M").value(), uint64_t{900} << 20);
  EXPECT_EQ(parse_size("4k").value(), 4096u);
  EXPECT_EQ(parse_size("2T").value(), 2048 * kGiB);
  EXPECT_EQ(parse_size("1.5GiB").value(), 3 * kGiB / 2);
  EXPECT_EQ(parse_size(".5G").value(), kGiB / 2);
  EXPECT_EQ(parse_size("16GB").value(), 16000000000u);
  EXPECT_EQ(parse_size("8kB").value(), 8000u);
  for (const char* text :
       {"",    " ",    "G",   "-1",  "-1G",      "+1G", "12 G",  "12X",  "12GG", "12GiBs", "12iB",
        "1e3", "0x10", "inf", "nan", "infinity", "1.5", "1..5G", "12G ", " 12G", "1,5G",   "."}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(size.error().message, HasSubstr("12G"));
  }
  for (const char* text : {"8388608T", "99999999999999999999", "9223372036854775808"})
    EXPECT_FALSE(parse_size(text)) << text;
}

TEST(Values, Switches) {
  for (const char* text : {"true", "1", "on", "enabled"}) EXPECT_TRUE(parse_bool(text).value());
  for (const char* text : {"false", "0", "off", "disabled"}) EXPECT_FALSE(parse_bool(text).value());
  for (const char* text : {"", "yes", "2", "ON", "truee"}) {
    ASSERT_FALSE(parse_bool(text)) << text;
    EXPECT_THAT(parse_bool(text).error().message, HasSubstr(std::string("\"") + text + "\""));
  }
}

TEST(Values, TextFiles) {
  const test::TempFolder folder;
  const std::string content("two\nlines\0and a zero", 20);
  std::ofstream(folder.file("prompt.txt"), std::ios::binary) << content;
  EXPECT_EQ(read_text_file(folder.file("prompt.txt")).value(), content);
  std::ofstream(folder.file("empty.txt"));
  EXPECT_EQ(read_text_file(folder.file("empty.txt")).value(), "");
  const auto missing = read_text_file(folder.file("none.txt"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr("none.txt"));
  EXPECT_FALSE(read_text_file(folder.path()));
}

}  // namespace
}  // namespace sluice::apps
