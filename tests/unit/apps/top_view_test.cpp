// SPDX-License-Identifier: Apache-2.0
#include "apps/top_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <sstream>

namespace sluice::apps {
namespace {

using testing::HasSubstr;
using testing::Not;

MachineState machine(int64_t layers, int64_t experts, double vram = 0) {
  MachineState s;
  s.model = "model.gguf";
  s.backend = "a processor";
  s.layers = layers;
  s.experts = experts;
  s.used = 2;
  s.budget = {0, 8.0 * (1 << 30), vram};
  s.expert_bytes = 4.0 * (1 << 30);
  s.tiers.assign(static_cast<size_t>(s.cells()), kSsd);
  s.heat.assign(s.tiers.size(), 0);
  s.counts = {s.cells(), 0, 0};
  return s;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string without_escapes(const std::string& text) {
  return std::regex_replace(text, std::regex("\x1b\\[[0-9;]*m"), "");
}

int width(const std::string& line) {
  int count = 0;
  for (const char c : without_escapes(line))
    count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

TEST(TopView, PlainTextHasEverything) {
  MachineState s = machine(2, 8, 2.0 * (1 << 30));
  s.tiers[1] = kRam;
  s.tiers[2] = kVram;
  s.tiers[9] = kRam;
  s.heat[9] = MachineState::kHottest;
  s.counts = {13, 2, 1};
  s.memory = {3.25 * (1 << 30), 6.0 * (1 << 30), 1.0 * (1 << 30)};
  s.hits = {std::nullopt, 0.48, 0.41};
  s.tokens_per_second = 21.52;
  s.disk_rate = 1.5 * (1 << 30);
  s.link_rate = 300.0 * (1 << 20);
  s.attention_ms = 10;
  s.cpu_ms = 20;
  s.gpu_ms = 5;
  s.waiting_ms = 5;
  const std::string text = draw_machine(s, {132, 0, false});
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("sluice  model.gguf  a processor\n"));
  EXPECT_THAT(text, HasSubstr("21.5 tok/s"));
  EXPECT_THAT(text, HasSubstr("1.50 GiB/s"));
  EXPECT_THAT(text, HasSubstr("PCIe 300.0 MiB/s"));
  EXPECT_THAT(text,
              HasSubstr("VRAM  ############------------   1.00 GiB of  2.00 GiB  hits  41 %\n"));
  EXPECT_THAT(text,
              HasSubstr("RAM   ##################------   6.00 GiB of  8.00 GiB  hits  48 %\n"));
  EXPECT_THAT(text, HasSubstr("3.25 GiB of  4.00 GiB  experts not in memory\n"));
  EXPECT_THAT(text,
              HasSubstr("Token aaaaaaVVVrrrrrrrrrrrr...    40.0 ms: attention 10.0 GPU experts 5.0 "
                        "CPU experts 20.0 waiting 5.0\n"));
  EXPECT_THAT(text, HasSubstr("V VRAM 1  r RAM 2  . SSD 13"));
  EXPECT_THAT(text, HasSubstr("\n.rV.....\n.*......\n"));
}

TEST(TopView, FitsAnyScreen) {
  for (const auto& [layers, experts] :
       {std::pair<int64_t, int64_t>{48, 128}, {48, 512}, {1, 4}, {0, 0}, {5, 7}}) {
    MachineState s = machine(layers, experts, 1e9);
    s.model = std::string(300, 'm');
    s.backend = "専家専家専家";
    for (size_t i = 0; i < s.tiers.size(); ++i) {
      s.tiers[i] = static_cast<uint8_t>(i * 7 % 3);
      s.heat[i] = static_cast<uint8_t>(i % 9);
    }
    for (int n = 0; n < 300; ++n) s.speeds.push_back(n), s.disk_rates.push_back(0);
    s.attention_ms = 1e9;
    for (const bool colours : {true, false})
      for (const int columns : {1, 2, 7, 40, 80, 133, 400})
        for (const int rows : {1, 2, 8, 9, 24, 200}) {
          const auto lines = lines_of(draw_machine(s, {columns, rows, colours}));
          EXPECT_LE(static_cast<int>(lines.size()), rows);
          for (const std::string& line : lines)
            EXPECT_LE(width(line), columns) << without_escapes(line);
        }
  }
}

TEST(TopView, TwoLayersShareALineOfColours) {
  MachineState s = machine(3, 4);
  const auto lines = lines_of(draw_machine(s, {80, 0, true}));
  const auto is_map = [](const std::string& line) {
    return line.find("\u2580") != std::string::npos;
  };
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), is_map), 2);
}

TEST(TopView, ColoursTellTiersAndUse) {
  MachineState s = machine(2, 1);
  const auto map = [&] { return lines_of(draw_machine(s, {80, 0, true})).back(); };
  const std::string ssd = map();
  s.tiers[0] = kRam;
  const std::string ram = map();
  s.tiers[0] = kVram;
  const std::string vram = map();
  s.heat[0] = MachineState::kHottest;
  const std::string lit = map();
  EXPECT_NE(ssd, ram);
  EXPECT_NE(ram, vram);
  EXPECT_NE(vram, lit);
  EXPECT_THAT(lit, HasSubstr("38;5;231;")) << "white";
}

TEST(TopView, WithoutADeviceNothingSpeaksOfOne) {
  MachineState s = machine(2, 4);
  s.attention_ms = s.cpu_ms = 1;
  const std::string text = draw_machine(s, {132, 0, false});
  EXPECT_THAT(text, Not(HasSubstr("VRAM")));
  EXPECT_THAT(text, Not(HasSubstr("GPU")));
  EXPECT_THAT(text, Not(HasSubstr("PCIe")));
}

TEST(TopView, ADeviceThatCannotTellItsParts) {
  MachineState s = machine(2, 4, 1e9);
  s.gpu_ms = 6;
  s.cpu_ms = 2;
  EXPECT_THAT(draw_machine(s, {132, 0, false}), HasSubstr("8.0 ms: GPU 6.0 CPU experts 2.0\n"));
}

TEST(TopView, ADenseModel) {
  EXPECT_THAT(draw_machine(machine(28, 0), {80, 24, false}),
              HasSubstr("This model has no experts to show."));
}

}  // namespace
}  // namespace sluice::apps
