// SPDX-License-Identifier: Apache-2.0
#include "report/process.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <thread>

#include "../temp_folder.h"

namespace sluice::report {
namespace {

Command shell(const std::string& script) {
  Command command;
  command.arguments = {"/bin/sh", "-c", script};
  command.origin = std::chrono::steady_clock::now();
  return command;
}

TEST(Process, OutputErrorsAndExitCode) {
  const Result<Outcome> o = run_process(shell("echo out; echo one >&2; printf two >&2; exit 3"));
  ASSERT_TRUE(o) << o.error().message;
  EXPECT_EQ(o->exit_code, 3);
  EXPECT_EQ(o->signal, 0);
  EXPECT_EQ(o->output, "out\n");
  ASSERT_EQ(o->errors.size(), 2u);
  EXPECT_EQ(o->errors[0].text, "one");
  EXPECT_EQ(o->errors[1].text, "two") << "the last one without an end";
  EXPECT_GE(o->first_output, o->began);
  EXPECT_GE(o->ended, o->first_output);
  EXPECT_GT(o->peak_resident, 0u);
}

TEST(Process, LargeOutputsOnBothPipesDoNotBlock) {
  const Result<Outcome> o =
      run_process(shell("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; "
                        "head -c 3000000 /dev/zero"));
  ASSERT_TRUE(o);
  EXPECT_EQ(o->exit_code, 0);
  EXPECT_EQ(o->output.size(), 3000000u);
  EXPECT_EQ(o->errors.size(), 1000u);
  EXPECT_EQ(o->errors.back().text, "line 2999") << "the last ones are kept";
}

TEST(Process, ASignalIsNoExitCode) {
  const Result<Outcome> o = run_process(shell("kill -SEGV $$"));
  ASSERT_TRUE(o);
  EXPECT_EQ(o->signal, SIGSEGV);
  EXPECT_EQ(o->exit_code, -1);
  EXPECT_FALSE(o->out_of_memory);
}

TEST(Process, TooLongIsStoppedWithWhatItStarted) {
  Command command = shell("echo begun; sleep 60 & wait");
  command.timeout = 0.3;
  const Result<Outcome> o = run_process(command);
  ASSERT_TRUE(o);
  EXPECT_TRUE(o->timed_out);
  EXPECT_EQ(o->signal, SIGTERM);
  EXPECT_LT(o->ended - o->began, 3);
  EXPECT_EQ(o->output, "begun\n");
}

TEST(Process, WhoIgnoresTheRequestIsKilled) {
  Command command = shell("trap '' TERM; while true; do sleep 0.1; done");
  command.timeout = 0.2;
  const Result<Outcome> o = run_process(command);
  ASSERT_TRUE(o);
  EXPECT_EQ(o->signal, SIGKILL);
  EXPECT_TRUE(o->timed_out);
  EXPECT_FALSE(o->out_of_memory);
}

TEST(Process, Interrupted) {
  std::atomic<bool> interrupted{false};
  Command command = shell("sleep 60");
  command.interrupted = &interrupted;
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    interrupted = true;
  });
  const Result<Outcome> o = run_process(command);
  later.join();
  ASSERT_TRUE(o);
  EXPECT_TRUE(o->interrupted);
  EXPECT_LT(o->ended - o->began, 3);
}

TEST(Process, ClosedPipesAreNotTheEnd) {
  const Result<Outcome> o = run_process(shell("exec >&- 2>&-; sleep 0.3; exit 5"));
  ASSERT_TRUE(o);
  EXPECT_EQ(o->exit_code, 5);
}

TEST(Process, ChildrenThatHoldThePipesAreNotWaitedFor) {
  const auto start = std::chrono::steady_clock::now();
  const Result<Outcome> o = run_process(shell("sleep 30 & echo done"));
  ASSERT_TRUE(o);
  EXPECT_EQ(o->output, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Process, WhatCannotBeStartedIsAnError) {
  Command command;
  command.arguments = {"/nowhere/sluice", "bench"};
  const Result<Outcome> o = run_process(command);
  ASSERT_FALSE(o);
  EXPECT_EQ(o.error().kind, ErrorKind::kIo);
  EXPECT_NE(o.error().message.find("/nowhere/sluice: cannot be started: No such file"),
            std::string::npos)
      << o.error().message;
}

TEST(Process, MoreThanItsGroupMayHaveIsOutOfMemory) {
  Result<MemoryGroup> group = MemoryGroup::create(uint64_t{48} << 20);
  if (!group) GTEST_SKIP() << group.error().message;
  // The shell's own memory grows: a text that doubles.
  Command command = shell("x=0123456789abcdef; while true; do x=$x$x; done");
  command.group = &*group;
  command.timeout = 20;
  const Result<Outcome> o = run_process(command);
  ASSERT_TRUE(o) << o.error().message;
  EXPECT_EQ(o->signal, SIGKILL);
  EXPECT_TRUE(o->out_of_memory);
  EXPECT_FALSE(o->timed_out);
  EXPECT_GE(group->kills(), 1u);
}

TEST(Process, AGroupIsGoneAtItsEnd) {
  std::string members;
  {
    Result<MemoryGroup> group = MemoryGroup::create(uint64_t{64} << 20);
    if (!group) GTEST_SKIP() << group.error().message;
    members = group->members();
    Command command = shell("exit 0");
    command.group = &*group;
    ASSERT_TRUE(run_process(command));
    EXPECT_TRUE(std::ifstream(members).is_open());
  }
  EXPECT_FALSE(std::ifstream(members).is_open());
}

}  // namespace
}  // namespace sluice::report
