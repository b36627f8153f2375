// SPDX-License-Identifier: Apache-2.0
#include "server/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace sluice::server {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string header(const HttpResponse& response, const std::string& name) {
  const auto found =
      std::ranges::find_if(response.headers, [&](const auto& h) { return h.first == name; });
  return found == response.headers.end() ? "" : found->second;
}

HttpResponse get(HttpHeaders headers) {
  return page_response({"GET", "/", "", std::move(headers), ""});
}

TEST(Page, IsTheCommittedFile) {
  std::ifstream file(SLUICE_ROOT "/web/dist/index.html", std::ios::binary);
  const std::string committed((std::istreambuf_iterator<char>(file)), {});
  ASSERT_GT(committed.size(), 1000u);
  const HttpResponse plain = get({});
  EXPECT_EQ(plain.status, 200);
  EXPECT_EQ(plain.body, committed);
  EXPECT_EQ(header(plain, "Content-Encoding"), "");
  const HttpResponse packed = get({{"accept-encoding", "gzip, deflate"}});
  EXPECT_EQ(header(packed, "Content-Encoding"), "gzip");
  EXPECT_THAT(packed.body, StartsWith("\x1f\x8b\x08"));
  EXPECT_LT(packed.body.size(), 300u << 10);
}

TEST(Page, SaysHowItMayBeUsed) {
  const HttpResponse page = get({});
  const std::string policy = header(page, "Content-Security-Policy");
  EXPECT_THAT(policy, StartsWith("default-src 'none'; script-src 'sha256-"));
  EXPECT_THAT(policy, HasSubstr("connect-src 'self'"));
  EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'"));
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  EXPECT_EQ(header(page, "X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(header(page, "Referrer-Policy"), "no-referrer");
  // The page carries the same policy, but for what only a header can say.
  EXPECT_THAT(page.body, HasSubstr(policy.substr(0, policy.find("; frame-ancestors"))));
}

TEST(Page, IsNotSentAgain) {
  const std::string tag = header(get({{"accept-encoding", "gzip"}}), "ETag");
  ASSERT_GT(tag.size(), 10u);
  for (const std::string& known : {tag, "\"old\", " + tag, "W/" + tag, std::string("*")}) {
    const HttpResponse again = get({{"accept-encoding", "gzip"}, {"if-none-match", known}});
    EXPECT_EQ(again.status, 304) << known;
    EXPECT_EQ(again.body, "");
    EXPECT_EQ(header(again, "ETag"), tag);
  }
  for (const std::string& other : {std::string("\"old\""), std::string(), tag + "x"})
    EXPECT_EQ(get({{"accept-encoding", "gzip"}, {"if-none-match", other}}).status, 200) << other;
  EXPECT_NE(header(get({}), "ETag"), tag) << "the unpacked form is another one";
}

TEST(Page, KnowsWhoTakesGzip) {
  for (const char* yes :
       {"gzip", "br, gzip", "gzip;q=0.5", "deflate;q=0, gzip ;q=1", "gzip; q=0.001"})
    EXPECT_TRUE(takes_gzip(yes)) << yes;
  for (const char* no : {"", "identity", "gzip;q=0", "gzip;q=0.000, br", "xgzip", "x;gzip", ",,;"})
    EXPECT_FALSE(takes_gzip(no)) << no;
}

}  // namespace
}  // namespace sluice::server
