// SPDX-License-Identifier: Apache-2.0
#include "report/report_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "example.h"

namespace sluice::report {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

TEST(ReportJson, ComesBackAsItWas) {
  Report before = example();
  before.cases[0].recordings[0].samples[3][Column::kResident] = kUnknown;
  const std::string text = to_json(before, {"A \"conclusion\"."});
  const Result<Report> after = report_from_json("r.json", text);
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(to_json(*after, {"A \"conclusion\"."}), text);
  ASSERT_EQ(after->cases.size(), 4u);
  EXPECT_EQ(after->cases[0].speeds->generation, 40);
  EXPECT_EQ(after->cases[2].failures[0].cause, Cause::kOutOfMemory);
  EXPECT_FALSE(after->cases[2].speeds);
  EXPECT_EQ(after->settings[1].memory_limit, uint64_t{5} << 30);
  const Samples& samples = after->cases[0].recordings[0].samples;
  ASSERT_EQ(samples.size(), 41u);
  EXPECT_FALSE(known(samples[3][Column::kResident]));
  EXPECT_EQ(samples[40][Column::kProcessRead], 4e9);
  EXPECT_FALSE(known(samples[0][Column::kGpuLoad]));
  EXPECT_EQ(Json::parse(text)["conclusion"][0], "A \"conclusion\".");
}

TEST(ReportJson, ListsOfNumbersAreOneLine) {
  for (const std::string& line : [] {
         std::vector<std::string> lines(1);
         for (const char c : to_json(example(), {}))
           c == '\n' ? lines.emplace_back() : lines.back() += c;
         return lines;
       }())
    EXPECT_EQ(line.find("0.1, 0.2") == std::string::npos,
              line.find("\"time_s\": [0, 0.1, 0.2") == std::string::npos);
}

TEST(ReportJson, OtherFilesAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "is no report.json of `sluice report`"},
      {"[]", "is no report.json"},
      {R"({"format": 3})", "is no report.json"},
      {R"({"format": "sluice-report"})", "version: this program reads version 1"},
      {R"({"format": "sluice-report", "version": 2})", "version: this program reads version 1"},
  };
  for (const auto& [text, expected] : cases) {
    const Result<Report> r = report_from_json("r.json", text);
    ASSERT_FALSE(r) << text;
    EXPECT_THAT(r.error().message, HasSubstr(std::string("r.json: ") + expected));
  }
}

TEST(ReportJson, ErrorsNameTheField) {
  const Json good = Json::parse(to_json(example(), {}));
  const auto with = [&](const char* pointer, const Json& value) {
    Json bad = good;
    bad[Json::json_pointer(pointer)] = value;
    const Result<Report> r = report_from_json("r.json", bad.dump());
    return r ? std::string("accepted") : r.error().message;
  };
  EXPECT_EQ(with("/title", 3), "r.json: title: must be a text");
  EXPECT_EQ(with("/machine", "big"), "r.json: machine: must be an object");
  EXPECT_EQ(with("/cases", Json::object()), "r.json: cases: must be a list");
  EXPECT_EQ(with("/cases/1", 7), "r.json: cases[1]: must be an object");
  EXPECT_EQ(with("/cases/1/model", 9), "r.json: cases[1].model: must be an index into models");
  EXPECT_EQ(with("/cases/1/setting", -1), "r.json: cases[1].setting: must be a number from 0");
  EXPECT_EQ(with("/cases/2/failures/0/cause", "bad luck"),
            "r.json: cases[2].failures[0].cause: must be one of the causes in docs/report.md");
  EXPECT_EQ(with("/cases/0/bench/generation_tokens_per_s", "fast"),
            "r.json: cases[0].bench.generation_tokens_per_s: must be a number");
  EXPECT_EQ(
      with("/cases/0/recordings/0/samples/rss_bytes", Json::array({1, 2})),
      "r.json: cases[0].recordings[0].samples.rss_bytes: must be as long as the other columns");
  EXPECT_EQ(with("/cases/0/recordings/0/samples/rss_bytes/2", "x"),
            "r.json: cases[0].recordings[0].samples.rss_bytes[2]: must be a number or null");
  EXPECT_EQ(with("/machine/gpus", Json::array({1})), "r.json: machine.gpus[0]: must be an object");
  EXPECT_EQ(with("/complete", "yes"), "r.json: complete: must be true or false");
  EXPECT_EQ(with("/later_field", 1), "accepted") << "later versions may have more";
}

// Every value of the file replaced by each kind of value: an error or a report, never anything
// else.
TEST(ReportJson, NoValueBreaksIt) {
  Report small = example();
  small.cases.resize(3);
  for (Case& one : small.cases)
    for (Recording& recording : one.recordings) recording.samples.resize(2);
  const Json good = Json::parse(to_json(small, {}));
  int refused = 0, accepted = 0;
  const Json flat = good.flatten();
  for (const auto& [pointer, value] : flat.items())
    for (const Json& bad : {Json(nullptr), Json(-1), Json(1e300), Json("x"), Json(true),
                            Json::array({1}), Json::object({{"a", 1}})}) {
      Json changed = good;
      changed[Json::json_pointer(pointer)] = bad;
      const Result<Report> r = report_from_json("r.json", changed.dump());
      r ? ++accepted : ++refused;
      if (r) to_json(*r, {});
    }
  EXPECT_GT(refused, 100);
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace sluice::report
