// SPDX-License-Identifier: Apache-2.0
#include "apps/machine_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::apps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const char* const kMachine =
    R"({"model":"tiny","layers":2,"experts":4,"used":1,"budgets":{"vram":1000,"ram":2000},)"
    R"("expert_bytes":800,"backend":"CPU"})";

MachineState machine() {
  auto state = read_machine(kMachine);
  EXPECT_TRUE(state) << state.error().message;
  return *state;
}

TEST(MachineState, ReadsWhatStays) {
  const MachineState state = machine();
  EXPECT_EQ(state.model, "tiny");
  EXPECT_EQ(state.backend, "CPU");
  EXPECT_EQ(state.cells(), 8);
  EXPECT_EQ(state.used, 1);
  EXPECT_EQ(state.budget[kVram], 1000);
  EXPECT_EQ(state.budget[kRam], 2000);
  EXPECT_THAT(state.counts, ElementsAre(8, 0, 0));
}

TEST(MachineState, AddsEventsUp) {
  MachineState state = machine();
  ASSERT_TRUE(apply_event(R"({"t":1,"tiers":"01200120","lit":[]})", state));
  EXPECT_THAT(state.counts, ElementsAre(4, 2, 2));
  ASSERT_TRUE(apply_event(R"({"changes":[[0,2],[1,0]],"lit":[3],"memory":{"vram":5,"ram":6},)"
                          R"("disk_rate":7,"link_rate":8,"tokens_per_second":9.5,)"
                          R"("hits":{"ram":0.5},"token":{"attention_ms":1,"cpu_ms":2}})",
                          state));
  EXPECT_THAT(state.tiers, ElementsAre(2, 0, 2, 0, 0, 1, 2, 0));
  EXPECT_THAT(state.counts, ElementsAre(4, 1, 3));
  EXPECT_EQ(state.heat[3], MachineState::kHottest);
  EXPECT_EQ(state.memory[kRam], 6);
  EXPECT_EQ(state.memory[kSsd], 400) << "half of the experts are on the disk only";
  EXPECT_EQ(state.disk_rate, 7);
  EXPECT_EQ(state.hits[kRam], 0.5);
  EXPECT_FALSE(state.hits[kVram]);
  EXPECT_EQ(state.attention_ms, 1);
  EXPECT_FALSE(state.gpu_ms);
  ASSERT_TRUE(apply_event("{}", state));
  EXPECT_EQ(state.heat[3], MachineState::kHottest / 2) << "it fades";
  EXPECT_THAT(state.speeds, ElementsAre(0, 9.5, 0));
}

TEST(MachineState, HistoryHasAnEnd) {
  MachineState state = machine();
  for (int n = 0; n < 1000; ++n) ASSERT_TRUE(apply_event("{}", state));
  EXPECT_EQ(state.speeds.size(), MachineState::kHistory);
}

TEST(MachineState, TextsCannotSpeakToTheTerminal) {
  const auto state = read_machine(
      R"({"model":"a\u001b[2Jb\u0007\u009bc\r\n","backend":"専家","layers":0,"experts":0})");
  ASSERT_TRUE(state);
  EXPECT_EQ(state->model, "a[2Jbc");
  EXPECT_EQ(state->backend, "専家");
}

TEST(MachineState, RefusesOtherMachines) {
  for (const char* text :
       {"", "[]", "null", "<html>", "{}", R"({"layers":-1,"experts":2})",
        R"({"layers":1000000,"experts":1000000})", R"({"layers":1.5,"experts":2})",
        R"({"layers":"2","experts":2})", R"({"layers":1e300,"experts":1e300})"}) {
    const auto state = read_machine(text);
    // A negative number counts as none.
    if (state) {
      EXPECT_EQ(state->cells(), 0) << text;
      continue;
    }
    EXPECT_THAT(state.error().message, HasSubstr("/machine")) << text;
  }
}

TEST(MachineState, RefusesEventsOutOfRange) {
  for (const char* text :
       {"", "7", R"({"tiers":"0120"})", R"({"tiers":"01200123"})", R"({"changes":[[8,1]]})",
        R"({"changes":[[0,3]]})", R"({"changes":[[-1,1]]})", R"({"changes":[[0]]})",
        R"({"changes":[7]})", R"({"lit":[8]})", R"({"lit":[-1]})", R"({"lit":["a"]})",
        R"({"lit":[1.5]})", R"({"lit":[18446744073709551615]})"}) {
    MachineState state = machine();
    EXPECT_FALSE(apply_event(text, state)) << text;
  }
  MachineState state = machine();
  EXPECT_TRUE(apply_event(R"({"memory":7,"token":[],"hits":null,"disk_rate":"fast"})", state))
      << "what is not there shows as nothing";
}

TEST(EventLines, PutsEventsTogether) {
  EventLines lines;
  std::vector<std::string> events;
  for (const char c :
       std::string(": ping\n\ndata: {\"a\":1}\r\n\r\ndata: x\ndata:y\n\nevent: z\n\n"))
    ASSERT_TRUE(lines.add({&c, 1}, events));
  EXPECT_THAT(events, ElementsAre("{\"a\":1}", "x\ny"));
  ASSERT_TRUE(lines.add("data: half", events));
  EXPECT_EQ(events.size(), 2u);
}

TEST(EventLines, RefusesOneWithoutEnd) {
  EventLines lines;
  std::vector<std::string> events;
  const std::string piece(1 << 20, 'x');
  Status done;
  for (int n = 0; n < 64 && done; ++n) done = lines.add(piece, events);
  EXPECT_FALSE(done);
}

}  // namespace
}  // namespace sluice::apps
