// SPDX-License-Identifier: Apache-2.0
#include "server/api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::server {
namespace {

using testing::HasSubstr;

std::string error_of(const std::string& text) {
  const auto json = parse_json(text);
  return json ? "none" : json.error().param + ": " + json.error().message;
}

TEST(ParseJson, TakesDocuments) {
  EXPECT_EQ(*parse_json(R"({"a": [1, 2.5, "x", null, true]})"),
            (Json{{"a", {1, 2.5, "x", nullptr, true}}}));
  EXPECT_EQ(error_of(std::string(64, '[') + std::string(64, ']')), "none");
  EXPECT_EQ(error_of(R"({"a": "[[[[\"[["})"), "none");
  EXPECT_EQ(error_of(R"([{"a": 1}, {"a": 2}])"), "none");
}

TEST(ParseJson, RefusesWithThePlace) {
  EXPECT_THAT(error_of(std::string(65, '[')), HasSubstr("nested deeper than 64 at byte 64"));
  EXPECT_THAT(error_of(std::string(100000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{\"a\": }"), HasSubstr("at byte 7"));
  EXPECT_THAT(error_of(""), HasSubstr("no JSON"));
  EXPECT_THAT(error_of("{} {}"), HasSubstr("no JSON"));
  EXPECT_THAT(error_of("{\"a\": 1e999}"), HasSubstr("out of range"));
  EXPECT_THAT(error_of("\"\xff\""), HasSubstr("no JSON"));
  EXPECT_THAT(error_of(R"("\ud800")"), HasSubstr("no JSON"));
  EXPECT_THAT(error_of(R"({"b": {"a": 1, "a": 2}})"), HasSubstr("a: this name stands twice"));
}

TEST(Errors, HaveTheShapesOfBothProtocols) {
  const ApiError error{429, "later", "x[0].y", "rate_limit_error", {{"n", 1}}};
  EXPECT_EQ(
      dump(error_body(error)),
      R"({"error":{"code":429,"message":"later","type":"rate_limit_error","param":"x[0].y","n":1}})");
  EXPECT_EQ(dump(anthropic_error_body(error)),
            R"({"type":"error","error":{"type":"rate_limit_error","message":"x[0].y: later"}})");
  const HttpResponse response = to_response(error);
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.headers.at(0).first, "Retry-After");
  EXPECT_EQ(to_api({ErrorKind::kBusy, ""}).status, 429);
  EXPECT_EQ(to_api({ErrorKind::kIo, ""}).status, 500);
  EXPECT_EQ(to_api({ErrorKind::kTooLarge, ""}).status, 400);
}

TEST(Dump, ReplacesWhatIsNoUtf8) {
  EXPECT_EQ(dump(Json("a\xff")), "\"a\xef\xbf\xbd\"");
}

TEST(MakeId, IsNewEachTime) {
  EXPECT_EQ(make_id("x-").size(), 34u);
  EXPECT_NE(make_id("x-"), make_id("x-"));
}

}  // namespace
}  // namespace sluice::server
