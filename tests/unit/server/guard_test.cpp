// SPDX-License-Identifier: Apache-2.0
#include "server/guard.h"

#include <gtest/gtest.h>

namespace sluice::server {
namespace {

HttpRequest with(HttpHeaders headers) {
  HttpRequest request;
  request.headers = std::move(headers);
  return request;
}

TEST(Guard, Keys) {
  const Guard guard({"one", "two"}, {}, {});
  EXPECT_EQ(guard.owner(with({{"authorization", "Bearer two"}})), "two");
  EXPECT_EQ(guard.owner(with({{"authorization", "bearer one"}})), "one");
  EXPECT_EQ(guard.owner(with({{"x-api-key", "one"}})), "one");
  for (const char* wrong :
       {"", "Bearer", "Bearer ", "Bearer on", "Bearer ones", "Basic one", "one"}) {
    const auto owner = guard.owner(with({{"authorization", wrong}}));
    ASSERT_FALSE(owner) << wrong;
    EXPECT_EQ(owner.error().status, 401);
  }
  EXPECT_EQ(Guard({}, {}, {}).owner(with({})), "");
}

TEST(Guard, NamesThatPointHere) {
  const Guard guard({}, {"box.lan"}, {});
  for (const char* host : {"", "localhost", "localhost:8080", "127.0.0.1:8080", "192.168.0.7",
                           "[::1]:80", "BOX.lan:8080", "a.localhost"})
    EXPECT_TRUE(guard.check_source(with({{"host", host}}))) << host;
  for (const char* host :
       {"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "1.2.3.4x"})
    EXPECT_FALSE(guard.check_source(with({{"host", host}}))) << host;
  // With a key, a name is no way in.
  EXPECT_TRUE(Guard({"key"}, {}, {}).check_source(with({{"host", "box.example"}})));
}

TEST(Guard, WebPages) {
  const Guard closed({}, {}, {});
  EXPECT_FALSE(
      closed.check_source(with({{"host", "localhost:80"}, {"origin", "https://evil.example"}})));
  EXPECT_FALSE(closed.check_source(with({{"host", "localhost:80"}, {"origin", "null"}})));
  EXPECT_TRUE(
      closed.check_source(with({{"host", "localhost:80"}, {"origin", "http://localhost:80"}})));
  EXPECT_TRUE(closed.cors(with({{"origin", "https://evil.example"}})).empty());
  const Guard some({}, {}, {"https://page.example"});
  EXPECT_TRUE(some.check_source(with({{"host", "localhost"}, {"origin", "https://page.example"}})));
  EXPECT_FALSE(
      some.check_source(with({{"host", "localhost"}, {"origin", "https://page.example.evil"}})));
  EXPECT_EQ(some.cors(with({{"origin", "https://page.example"}})).at(0).second,
            "https://page.example");
  EXPECT_TRUE(Guard({}, {}, {"*"}).check_source(with({{"origin", "https://any.example"}})));
}

}  // namespace
}  // namespace sluice::server
