// SPDX-License-Identifier: Apache-2.0
#include "report/sample.h"

#include <gtest/gtest.h>

#include <set>

namespace sluice::report {
namespace {

Samples samples_of(Column column, std::vector<std::pair<double, double>> points) {
  Samples samples;
  for (const auto& [time, value] : points) {
    Sample sample;
    sample[Column::kTime] = time;
    sample[column] = value;
    samples.push_back(sample);
  }
  return samples;
}

TEST(Sample, ColumnsHaveNamesOfTheirOwn) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kColumns; ++i) {
    const auto column = static_cast<Column>(i);
    EXPECT_FALSE(column_name(column).empty());
    EXPECT_EQ(find_column(column_name(column)), column);
    names.insert(column_name(column));
  }
  EXPECT_EQ(names.size(), kColumns);
  EXPECT_EQ(find_column("rss"), std::nullopt);
}

TEST(Sample, StatisticsLeaveOutWhatIsUnknown) {
  const Samples s =
      samples_of(Column::kResident, {{0, kUnknown}, {1, 4}, {2, kUnknown}, {3, 10}, {4, 1}});
  EXPECT_EQ(highest(s, Column::kResident), 10);
  EXPECT_EQ(lowest(s, Column::kResident), 1);
  EXPECT_EQ(mean(s, Column::kResident), 5);
  EXPECT_EQ(first_known(s, Column::kResident), 4);
  EXPECT_EQ(last_known(s, Column::kResident), 1);
  EXPECT_FALSE(known(highest(s, Column::kGpuLoad)));
  EXPECT_FALSE(known(mean(s, Column::kGpuLoad)));
  EXPECT_FALSE(known(mean_rate(s, Column::kGpuLoad)));
  EXPECT_FALSE(known(highest({}, Column::kResident)));
}

TEST(Sample, RatesOfTotals) {
  const Samples s = samples_of(Column::kProcessRead, {{1, 100}, {2, 300}, {3, kUnknown}, {5, 900}});
  EXPECT_EQ(growth(s, Column::kProcessRead), 800);
  EXPECT_EQ(mean_rate(s, Column::kProcessRead), 200);
  const std::vector<Point> rates = rates_over_time(s, Column::kProcessRead, 1);
  ASSERT_EQ(rates.size(), 2u);
  EXPECT_EQ(rates[0].x, 2);
  EXPECT_EQ(rates[0].y, 200);
  EXPECT_EQ(rates[1].y, 200);
  EXPECT_EQ(rates_over_time(s, Column::kProcessRead, 2).size(), 1u);
}

TEST(Sample, ATotalThatFallsBelongsToAnotherProcess) {
  const Samples s = samples_of(Column::kProcessCpu, {{0, 5}, {1, 7}, {2, 0.5}, {3, 1.5}});
  const std::vector<Point> rates = rates_over_time(s, Column::kProcessCpu, 0.5);
  ASSERT_EQ(rates.size(), 2u);
  EXPECT_EQ(rates[0].y, 2);
  EXPECT_EQ(rates[1].y, 1);
}

TEST(Sample, ThinningKeepsPeaksAndOrder) {
  std::vector<Point> points;
  for (int i = 0; i < 5000; ++i) points.push_back({static_cast<double>(i), i == 1234 ? 99.0 : 1.0});
  points[4321].y = -5;
  const std::vector<Point> kept = thinned(points, 100);
  EXPECT_LE(kept.size(), 100u);
  double most = 0, least = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    most = std::max(most, kept[i].y);
    least = std::min(least, kept[i].y);
    if (i > 0) {
      EXPECT_GT(kept[i].x, kept[i - 1].x);
    }
  }
  EXPECT_EQ(most, 99);
  EXPECT_EQ(least, -5);
  EXPECT_EQ(thinned(std::span(points).first(7), 100).size(), 7u);
}

}  // namespace
}  // namespace sluice::report
