// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "machine/machine.h"

namespace sluice::machine {
namespace {

using nlohmann::json;
using testing::HasSubstr;

ComputeRates rates(double speed) {
  ComputeRates r;
  r.name = "made up";
  r.operation_seconds = 2e-6;
  r.answer_seconds = 1e-5;
  r.types["Q4_K"] = {3e10 * speed,
                     {{1, 2e10 * speed}, {32, 1e11 * speed}},
                     {{1, 1.8e10 * speed}, {4, 4e10 * speed}}};
  r.norm_floats = 1e9;
  r.attention_row = 2e9;
  r.attention_batch = 3e10;
  r.delta_row = 4e9;
  r.delta_batch = 5e9;
  return r;
}

Machine made_up() {
  Machine m;
  m.identity = "one";
  m.note = "from a book";
  m.memory_bytes = uint64_t{16} << 30;
  m.available_bytes = uint64_t{12} << 30;
  m.processor = {"CPU", "avx2", 6, uint64_t{24} << 20, {{1, 2e10}, {6, 5e10}}, rates(1)};
  m.disks.push_back({"a disk", 864 << 10, true, {{3, 0.001}, {12, 0.003}}});
  m.accelerator = Accelerator{"GPU", uint64_t{6} << 30, uint64_t{5} << 30, 1.2e10, rates(5)};
  return m;
}

// What is wrong with the text after `change`.
std::string error_after(const std::function<void(json&)>& change) {
  json j = json::parse(format_machine(made_up()));
  change(j);
  const auto parsed = parse_machine(j.dump(), "m.json");
  return parsed ? "" : parsed.error().message;
}

TEST(MachineJson, WhatIsWrittenIsRead) {
  const std::string text = format_machine(made_up());
  const auto read = parse_machine(text, "m.json");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(format_machine(*read), text);
  EXPECT_EQ(read->processor.rates.types.at("Q4_K").experts[1].per_second, 4e10);
  EXPECT_DOUBLE_EQ(read->disks[0].bytes_per_second(), 12 * (864 << 10) / 0.003);
}

TEST(MachineJson, AnAcceleratorMayBeMissing) {
  Machine m = made_up();
  m.accelerator.reset();
  m.accelerator_reason = "no driver";
  const auto read = parse_machine(format_machine(m), "m.json");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_FALSE(read->accelerator);
  EXPECT_EQ(read->accelerator_reason, "no driver");
  EXPECT_THAT(describe(*read), HasSubstr("no GPU"));
}

TEST(MachineJson, ErrorsNameTheField) {
  EXPECT_THAT(parse_machine("{", "m.json").error().message, HasSubstr("m.json: this is no JSON"));
  EXPECT_THAT(parse_machine("[]", "m.json").error().message, HasSubstr("must be an object"));
  EXPECT_THAT(error_after([](json& j) { j["version"] = 7; }), HasSubstr("version must be 1"));
  EXPECT_THAT(error_after([](json& j) { j.erase("memory_bytes"); }),
              HasSubstr("memory_bytes is missing"));
  EXPECT_THAT(error_after([](json& j) { j["memory_bytes"] = -1; }), HasSubstr("memory_bytes must"));
  EXPECT_THAT(error_after([](json& j) { j["memory_bytes"] = "16G"; }),
              HasSubstr("memory_bytes must be a number"));
  EXPECT_THAT(error_after([](json& j) { j["processor"]["threads"] = 0; }),
              HasSubstr("processor.threads must be between 1"));
  EXPECT_THAT(error_after([](json& j) { j["processor"] = 3; }),
              HasSubstr("processor must be an object"));
  EXPECT_THAT(error_after([](json& j) { j["processor"]["rates"]["types"].erase("Q4_K"); }),
              HasSubstr("processor.rates.types.Q4_K is missing"));
  EXPECT_THAT(error_after([](json& j) { j["processor"]["rates"]["types"]["Q9_X"] = 1; }),
              HasSubstr("processor.rates.types.Q9_X is no weight type"));
  EXPECT_THAT(error_after([](json& j) {
                j["processor"]["rates"]["types"]["Q4_K"]["dense"][0]["rows"] = 2;
              }),
              HasSubstr("processor.rates.types.Q4_K.dense[0].rows must begin with 1"));
  EXPECT_THAT(error_after([](json& j) { j["disks"][0]["times"][1]["reads"] = 2; }),
              HasSubstr("disks[0].times[1].reads must rise"));
  EXPECT_THAT(error_after([](json& j) { j["disks"][0]["times"] = json::array(); }),
              HasSubstr("disks[0].times must be a list of 1"));
  EXPECT_THAT(error_after([](json& j) { j["accelerator"]["to_device_bytes_per_second"] = 0; }),
              HasSubstr("accelerator.to_device_bytes_per_second must be between"));
  EXPECT_THAT(error_after([](json& j) { j["accelerator"].erase("name"); }),
              HasSubstr("--remeasure"));
}

// Every field that is taken away, and every number that becomes a text, is an error or no loss;
// nothing crashes.
TEST(MachineJson, AnyFieldMayBeDamaged) {
  const json whole = json::parse(format_machine(made_up())).flatten();
  int errors = 0;
  for (const auto& [path, value] : whole.items()) {
    for (const json& other : {json(), json("text"), json(-1), json(1e300), json::array()}) {
      json damaged = whole.unflatten();
      damaged[json::json_pointer(path)] = other;
      errors += !parse_machine(damaged.dump(), "m.json");
    }
  }
  EXPECT_GT(errors, 100);
}

// Half a file, as a program that was killed would never leave it.
TEST(MachineJson, AnyPrefixIsAnError) {
  const std::string text = format_machine(made_up());
  for (size_t n = 0; n + 2 < text.size(); n += 37)
    EXPECT_FALSE(parse_machine(text.substr(0, n), "m.json")) << n;
}

TEST(MachineJson, TheMachinesThatComeWithTheProgramAreGood) {
  std::ifstream file(SLUICE_ROOT "/machines/rtx3060-laptop.json");
  std::stringstream text;
  text << file.rdbuf();
  const auto read = parse_machine(text.str(), "rtx3060-laptop.json");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_TRUE(read->accelerator);
  EXPECT_GT(read->accelerator->memory_bytes, uint64_t{5} << 30);
  EXPECT_FALSE(read->note.empty()) << "where its figures come from";
  EXPECT_GT(read->disks.size(), 0u);
}

}  // namespace
}  // namespace sluice::machine
