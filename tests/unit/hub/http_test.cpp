// SPDX-License-Identifier: Apache-2.0
#include "hub/http.h"

#include <gtest/gtest.h>

namespace sluice::hub {
namespace {

TEST(HttpTest, ContentRanges) {
  const auto range = parse_content_range("bytes 5-9/100");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->range.first, 5u);
  EXPECT_EQ(range->range.last, 9u);
  EXPECT_EQ(range->total, 100u);
  EXPECT_EQ(parse_content_range("Bytes 0-0/*")->total, std::nullopt);
  EXPECT_EQ(parse_content_range("bytes 0-18446744073709551614/18446744073709551615")->total,
            18446744073709551615u);
  for (const char* bad : {"", "bytes", "bytes ", "bytes 5-4/10", "bytes 0-9/9", "bytes 0-9/10x",
                          "bytes -1-9/10", "bytes 0-9", "bytes */10", "items 0-9/10", "bytes 0-9/",
                          "bytes 0 -9/10", "bytes 0-99999999999999999999/5"})
    EXPECT_FALSE(parse_content_range(bad)) << bad;
}

TEST(HttpTest, TheTokenBelongsToOneHost) {
  HttpOptions options;
  options.token = "secret";
  options.token_origin = "https://hub.example";
  const Connection connection(options);
  const auto gets = [&](const char* url) { return connection.has_token_for(*Url::parse(url)); };
  EXPECT_TRUE(gets("https://hub.example/api"));
  EXPECT_TRUE(gets("https://hub.example:443/api"));
  for (const char* other :
       {"http://hub.example/api", "https://hub.example:444/", "https://cdn.hub.example/",
        "https://hub.example.evil/", "https://evil/?https://hub.example"})
    EXPECT_FALSE(gets(other)) << other;
}

TEST(HttpTest, NoTokenGoesOverTheNetworkInTheClear) {
  HttpOptions options;
  options.token = "secret";
  options.token_origin = "http://mirror.example";
  EXPECT_FALSE(Connection(options).has_token_for(*Url::parse("http://mirror.example/x")));
  options.token_origin = "http://127.0.0.1:8000";
  EXPECT_TRUE(Connection(options).has_token_for(*Url::parse("http://127.0.0.1:8000/x")));
}

TEST(HttpTest, RestsGrowAndHaveAnEnd) {
  EXPECT_LT(rest_before(1), rest_before(2));
  EXPECT_LE(rest_before(12), 5000);
  const auto asked = [](const std::string& value) {
    Response response;
    response.headers.emplace("retry-after", value);
    return response.retry_after();
  };
  EXPECT_EQ(asked("7"), 7);
  EXPECT_EQ(asked("86400"), 60);
  EXPECT_EQ(asked("Wed, 21 Oct 2015 07:28:00 GMT"), 0);
  EXPECT_EQ(asked("-5"), 0);
}

}  // namespace
}  // namespace sluice::hub
