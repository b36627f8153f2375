// SPDX-License-Identifier: Apache-2.0
#include "report/compose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "example.h"
#include "report/numbers.h"

namespace sluice::report {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

const Language kEnglish = Language::english();
const Language kChinese = Language::chinese();

TEST(Numbers, ThreeDigitsAndADash) {
  EXPECT_EQ(number_text(7.426), "7.43");
  EXPECT_EQ(number_text(9.996), "10.0");
  EXPECT_EQ(number_text(41.54), "41.5");
  EXPECT_EQ(number_text(99.96), "100");
  EXPECT_EQ(number_text(208.4), "208");
  EXPECT_EQ(number_text(0), "0");
  EXPECT_EQ(number_text(kUnknown), "–");
  EXPECT_EQ(seconds_text(0.384), "0.38 s");
  EXPECT_EQ(bytes_text(312.0 * (1 << 20)), "312 MiB");
  EXPECT_EQ(bytes_text(999.6 * (1 << 20)), "0.98 GiB");
  EXPECT_EQ(bytes_text(3.5 * (1 << 30)), "3.50 GiB");
  EXPECT_EQ(rate_text(1.214e9), "1.21 GB/s");
  EXPECT_EQ(change_text(-0.052), "-5 %");
}

TEST(Peaks, OverBothProcesses) {
  const Report r = example();
  const Peaks p = peaks(r.cases[0]);
  EXPECT_EQ(p.resident, 2.5 * (1 << 30));
  EXPECT_EQ(p.swap, 0);
  EXPECT_EQ(p.swap_growth, 0);
  EXPECT_EQ(p.major_faults, 6);
  EXPECT_NEAR(p.cpu_load, 200, 1e-6) << "two cores";
  EXPECT_NEAR(p.disk_rate, 1e9, 1);
  EXPECT_EQ(p.disk_read, 8e9);
  EXPECT_FALSE(known(p.vram));
  EXPECT_FALSE(known(peaks({}).resident));
}

TEST(Median, OddEvenAndNone) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_FALSE(known(median({})));
}

TEST(Conclusion, SaysWhatTheNumbersSay) {
  const std::vector<std::string> all = conclude(example(), {}, kEnglish);
  EXPECT_THAT(all, Contains("3 of 4 cases ran to their end."));
  EXPECT_THAT(
      all, Contains("small generates 40.0 tokens/s at best (default): faster than people read."));
  EXPECT_THAT(
      all, Contains(HasSubstr("large generates 4.00 tokens/s at best (--ram 4G): about as fast")));
  EXPECT_THAT(
      all,
      Contains(HasSubstr("waited for the disk in 60 % of the time, with 80 % of the experts")));
  EXPECT_THAT(all, Contains("Settings matter: default is 2.00 times as fast as --ram 4G."));
  EXPECT_THAT(
      all,
      Contains(HasSubstr("large is the largest of the models that generate at reading speed")));
  EXPECT_THAT(all, Contains(AllOf(HasSubstr("Memory went up to 9.00 GiB of 16.0 GiB"),
                                  HasSubstr("nothing was swapped"))));
  EXPECT_THAT(all, Contains("large, default: out of memory (killed by the kernel)."))
      << "once, though both measurements failed";
  EXPECT_THAT(all, Contains(AllOf(HasSubstr("off by 10 % in the median of 3 cases"),
                                  HasSubstr("never predicted too low"))));
}

TEST(Conclusion, InChinese) {
  const std::vector<std::string> all = conclude(example(), {}, kChinese);
  EXPECT_THAT(all, Contains("4 个用例中有 3 个运行成功。"));
  EXPECT_THAT(all, Contains("small 的最快生成速度为 40.0 token/s（default）：快于人的阅读速度。"));
  EXPECT_THAT(all, Contains("设置影响明显：default 的速度是 --ram 4G 的 2.00 倍。"));
  EXPECT_THAT(all, Contains("large，default：内存不足（killed by the kernel）。"));
  EXPECT_EQ(all.size(), conclude(example(), {}, kEnglish).size());
}

TEST(Conclusion, SwapAndMemoryThatWasPredictedTooLow) {
  Report r = example();
  for (Sample& s : r.cases[0].recordings[1].samples) s[Column::kProcessSwap] = 200 << 20;
  r.cases[1].predicted->memory = 2.0 * (1 << 30);
  const std::vector<std::string> all = conclude(r, {}, kEnglish);
  EXPECT_THAT(all, Contains(HasSubstr("up to 200 MiB were swapped")));
  EXPECT_THAT(all, Contains(HasSubstr("memory was predicted up to 20 % too low")));
}

TEST(Conclusion, WhenNothingRan) {
  Report r = example();
  r.cases.clear();
  r.complete = false;
  EXPECT_THAT(conclude(r, {}, kEnglish),
              testing::ElementsAre("The study was stopped before its end: 0 of 4 cases began."));
  Case c;
  c.failures = {{"run", Cause::kRefused, "no such file", 1, 0, 0, {}}};
  r.cases = {c};
  const std::vector<std::string> all = conclude(r, {}, kEnglish);
  EXPECT_THAT(all, Contains("small gave no speed in any setting."));
  EXPECT_THAT(all, Contains("small, default: refused (no such file)."));
}

TEST(Conclusion, ComparesWithEarlierReports) {
  Report before = example();
  before.cases[0].speeds->generation = 20;
  before.cases[1].speeds->generation = 10;
  before.cases[3].speeds->generation = 2;
  EXPECT_THAT(
      conclude(example(), {{"old.json", before}}, kEnglish),
      Contains(
          "Against old.json: 2.00 times as fast generating (median of 3 cases, 2.00 to 2.00)."));
  EXPECT_THAT(conclude(before, {{"new.json", example()}}, kEnglish),
              Contains(HasSubstr("Against new.json: slower, 0.50 of the speed generating")));
  EXPECT_THAT(conclude(example(), {{"same.json", example()}}, kEnglish),
              Contains(HasSubstr("Against same.json: as fast as then")));
  before.machine.cpu = "Another";
  EXPECT_THAT(conclude(example(), {{"old.json", before}}, kEnglish),
              Contains(HasSubstr("It is from another machine.")));
  for (Model& model : before.models) model.name += "x";
  EXPECT_THAT(conclude(example(), {{"old.json", before}}, kEnglish),
              Contains("old.json has no case in common with this report."));
}

const Section* find(const Document& document, const std::string& id) {
  for (const Section& section : document.sections)
    if (section.id == id) return &section;
  return nullptr;
}

const Table* table_of(const Document& document, const std::string& id) {
  const Section* section = find(document, id);
  if (section)
    for (const Block& block : section->blocks)
      if (const auto* table = std::get_if<Table>(&block)) return table;
  return nullptr;
}

TEST(Compose, ResultsHaveARowForEveryCase) {
  for (const Language say : {kEnglish, kChinese}) {
    const Document d = compose(example(), {}, say);
    const Table* results = table_of(d, "results");
    ASSERT_NE(results, nullptr);
    ASSERT_EQ(results->rows.size(), 6u) << "two models, four cases";
    EXPECT_THAT(results->rows[0].group, HasSubstr("small · qwen3moe 4B · 2.00 GiB"));
    for (const Table::Row& row : results->rows)
      if (row.group.empty()) {
        EXPECT_EQ(row.cells.size(), results->columns.size());
      }
    EXPECT_EQ(results->rows[1].cells[1].tone, Tone::kGood);
    EXPECT_EQ(results->rows[4].cells[1].tone, Tone::kBad);
    EXPECT_EQ(results->rows[4].cells[4].text, "–");
    for (const size_t column : {size_t{6}, size_t{10}})
      EXPECT_EQ(results->rows[1].cells[column].text, say("no GPU", "无 GPU"));
  }
}

TEST(Compose, ColumnsOfAGpuWhereThereIsOne) {
  Report r = example();
  for (Sample& s : r.cases[0].recordings[0].samples) {
    s[Column::kVramUsed] = 5.0 * (1 << 30);
    s[Column::kGpuLoad] = 90;
  }
  const Document d = compose(r, {}, kEnglish);
  const Table* results = table_of(d, "results");
  EXPECT_THAT(results->columns, Contains("VRAM peak"));
  EXPECT_EQ(results->rows[1].cells[6].text, "5.00 GiB");
  EXPECT_EQ(results->rows[2].cells[6].text, "–");
  EXPECT_THAT(conclude(r, {}, kEnglish), Contains(HasSubstr("the GPU's to 5.00 GiB")));
}

// Speeds of other prompts than the measured ones are no predictions of these.
TEST(Compose, PredictedAndMeasuredStandSideBySide) {
  Report r = example();
  const auto cells = [&] {
    return table_of(compose(r, {}, kEnglish), "prediction")->rows[1].cells;
  };
  const double predicted = r.cases[0].predicted->prompt, measured = r.cases[0].speeds->prompt;
  ASSERT_EQ(r.prompt_tokens, 512);
  EXPECT_EQ(cells()[2].text, number_text(r.cases[0].speeds->generation));
  EXPECT_EQ(cells()[4].text, number_text(predicted));
  EXPECT_EQ(cells()[5].text, number_text(measured));
  r.prompt_tokens = 64;
  EXPECT_EQ(cells()[4].text, "–");
  EXPECT_EQ(cells()[5].text, number_text(measured));
  r.cases[0].predicted->prompt_tokens = 64;
  EXPECT_EQ(cells()[4].text, number_text(predicted));
}

TEST(Compose, SectionsFollowWhatThereIs) {
  const Document full = compose(example(), {{"old.json", example()}}, kEnglish);
  for (const char* id : {"conclusion", "results", "speed", "prediction", "comparison", "failures",
                         "resources", "time", "answers", "machine", "settings"})
    EXPECT_NE(find(full, id), nullptr) << id;
  Report r = example();
  r.cases.clear();
  const Document none = compose(r, {}, kEnglish);
  for (const char* id : {"speed", "prediction", "comparison", "time", "answers"})
    EXPECT_EQ(find(none, id), nullptr) << id;
  const Table* failures = table_of(full, "failures");
  ASSERT_EQ(failures->rows.size(), 3u);
  EXPECT_EQ(failures->rows[1].cells[2].text, "out of memory");
}

}  // namespace
}  // namespace sluice::report
