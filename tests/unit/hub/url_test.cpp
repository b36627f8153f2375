// SPDX-License-Identifier: Apache-2.0
#include "hub/url.h"

#include <gtest/gtest.h>

namespace sluice::hub {
namespace {

Url url(const std::string& text) {
  auto parsed = Url::parse(text);
  EXPECT_TRUE(parsed) << text;
  return *parsed;
}

TEST(UrlTest, OriginsAreWhatTokensBelongTo) {
  EXPECT_EQ(url("https://huggingface.co/a/b").origin(), "https://huggingface.co");
  EXPECT_EQ(url("https://HuggingFace.co:443/a").origin(), "https://huggingface.co");
  EXPECT_EQ(url("http://h:80").origin(), "http://h");
  EXPECT_EQ(url("https://h:8443/").origin(), "https://h:8443");
  EXPECT_NE(url("http://h/").origin(), url("https://h/").origin());
  EXPECT_NE(url("https://h.evil.example/").origin(), url("https://h/").origin());
  EXPECT_EQ(url("http://[::1]:8080/x").origin(), "http://[::1]:8080");
}

TEST(UrlTest, PartsOfAnAddress) {
  const Url one = url("https://h/a%20b/c.gguf?sig=secret#part");
  EXPECT_EQ(one.path(), "/a%20b/c.gguf");
  EXPECT_EQ(one.display(), "https://h/a%20b/c.gguf");
  EXPECT_EQ(one.text(), "https://h/a%20b/c.gguf?sig=secret");
  EXPECT_TRUE(one.encrypted());
  EXPECT_FALSE(one.loopback());
  EXPECT_TRUE(url("http://127.0.0.1:1/").loopback());
  EXPECT_TRUE(url("http://[::1]/").loopback());
  EXPECT_FALSE(url("http://localhost.example/").loopback());
}

TEST(UrlTest, DotsCannotLeaveTheHost) {
  EXPECT_EQ(url("https://h/a/../../b").path(), "/b");
}

TEST(UrlTest, RefusesEverythingElse) {
  for (const char* text : {"", "model.gguf", "ftp://h/x", "file:///etc/passwd", "http://",
                           "http://user@h/", "http://user:password@h/x"}) {
    const auto parsed = Url::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().kind, ErrorKind::kUsage);
    EXPECT_EQ(parsed.error().message.find("password@"), std::string::npos);
  }
}

TEST(UrlTest, RedirectsMayBeRelative) {
  const Url page = url("https://h/a/b/c?x=1");
  EXPECT_EQ(page.resolve("/d?y=2")->text(), "https://h/d?y=2");
  EXPECT_EQ(page.resolve("d")->text(), "https://h/a/b/d");
  EXPECT_EQ(page.resolve("//other/z")->origin(), "https://other");
  EXPECT_EQ(page.resolve("http://other/z")->origin(), "http://other");
  EXPECT_FALSE(page.resolve("file:///etc/passwd"));
  EXPECT_FALSE(page.resolve("javascript:alert(1)"));
}

TEST(UrlTest, Escapes) {
  EXPECT_EQ(escape_path("a b/ü+?#%.gguf"), "a%20b/%C3%BC%2B%3F%23%25.gguf");
  EXPECT_EQ(unescape_path(escape_path("a b/ü+?#%.gguf")), "a b/ü+?#%.gguf");
  for (const char* bad : {"%", "%1", "%zz", "a%00b", "x%4"})
    EXPECT_EQ(unescape_path(bad), "") << bad;
  EXPECT_EQ(unescape_path("%41"), "A");
}

}  // namespace
}  // namespace sluice::hub
