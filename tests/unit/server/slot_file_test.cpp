// SPDX-License-Identifier: Apache-2.0
#include "server/slot_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "../engine/tiny_model.h"

namespace sluice::server {
namespace {

using engine::Session;
using test::TinyEngine;
using testing::HasSubstr;
using Tokens = std::vector<text::Token>;

constexpr engine::CheckpointOptions kCheckpoints{16, uint64_t{1} << 30, 16};

Tokens some_tokens(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  Tokens tokens(count);
  for (text::Token& token : tokens) token = static_cast<text::Token>(random() % 256);
  return tokens;
}

std::string bytes_in(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

Session session(TinyEngine& engine) {
  Session session = engine.session();
  session.keep_checkpoints(kCheckpoints);
  return session;
}

SlotLimits limits(TinyEngine& engine) {
  return {engine->context(), engine::session_memory(engine->model().config(), engine->context(),
                                                    engine->options().cache, kCheckpoints)};
}

class SlotFileTest : public testing::TestWithParam<const char*> {
 protected:
  static engine::EngineOptions small_passes() {
    engine::EngineOptions options;
    options.ubatch = 16;
    return options;
  }
  Result<uint64_t> write(const std::string& name, const std::string& owner = "ann") {
    auto saved = held_.save();
    if (!saved) return tl::unexpected(saved.error());
    return write_slot_file(folder_.path(), name, owner, *saved);
  }
  Result<SlotFile> read(const std::string& name, const std::string& owner = "ann") {
    return read_slot_file(folder_.path(), name, owner, limits(engine_));
  }
  void hold(const Tokens& tokens) { ASSERT_TRUE(held_.reuse(tokens)); }

  TinyEngine engine_{test::tiny_model(1, GetParam()), small_passes()};
  Session held_ = session(engine_);
  test::TempFolder folder_;
};

TEST_P(SlotFileTest, WhatComesBackIsWhatWentThere) {
  const Tokens text = some_tokens(100, 1);
  hold(text);
  const auto written = write("a.bin");
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_EQ(*written, std::filesystem::file_size(folder_.file("a.bin")));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1);
  auto file = read("a.bin");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->bytes, *written);
  EXPECT_EQ(file->saved.checkpoints.size(), held_.checkpoints().entries().size());
  Session back = session(engine_);
  ASSERT_TRUE(back.feed(some_tokens(30, 9)));  // goes
  ASSERT_TRUE(back.load(std::move(file->saved)));
  EXPECT_TRUE(std::ranges::equal(back.tokens(), text));

  // It goes on, and goes back, as the one that read the text, bit for bit.
  Tokens longer = text;
  longer.push_back(7);
  Tokens other(text.begin(), text.begin() + 60);
  other.push_back(8);
  for (const Tokens& next : {text, longer, other}) {
    const auto kept_here = held_.reuse(next);
    const auto kept_there = back.reuse(next);
    ASSERT_TRUE(kept_here && kept_there);
    EXPECT_EQ(*kept_there, *kept_here);
    EXPECT_GE(*kept_there, 48);
    EXPECT_TRUE(std::ranges::equal(back.logits(), held_.logits()));
  }
}

TEST_P(SlotFileTest, ASlotWithoutText) {
  ASSERT_TRUE(write("empty"));
  auto file = read("empty");
  ASSERT_TRUE(file) << file.error().message;
  Session back = session(engine_);
  ASSERT_TRUE(back.feed(some_tokens(5, 1)));
  ASSERT_TRUE(back.load(std::move(file->saved)));
  EXPECT_EQ(back.length(), 0);
}

TEST_P(SlotFileTest, IsOneKeysAlone) {
  hold(some_tokens(20, 1));
  ASSERT_TRUE(write("a.bin"));
  EXPECT_THAT(bytes_in(folder_.file("a.bin")), testing::Not(HasSubstr("ann")));
  const auto file = read("a.bin", "bob");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(file.error().message, HasSubstr("a.bin"));
  const std::string before = bytes_in(folder_.file("a.bin"));
  const auto written = write("a.bin", "bob");
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message, HasSubstr("another API key"));
  EXPECT_EQ(bytes_in(folder_.file("a.bin")), before);
  EXPECT_TRUE(write("a.bin"));
}

TEST_P(SlotFileTest, ReplacesNoOtherFile) {
  put(folder_.file("letter.txt"), "Dear Bob, " + std::string(500, 'x'));
  std::filesystem::create_directory(folder_.file("folder"));
  for (const char* name : {"letter.txt", "folder"}) {
    const auto written = write(name);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(written.error().message, HasSubstr(std::string(name) + ": no saved slot"));
    EXPECT_EQ(read(name).error().kind, ErrorKind::kBadFile);
  }
  EXPECT_THAT(bytes_in(folder_.file("letter.txt")), testing::StartsWith("Dear Bob"));
}

TEST_P(SlotFileTest, AnyChangeIsFound) {
  hold(some_tokens(20, 1));
  ASSERT_TRUE(write("a.bin"));
  const std::string right = bytes_in(folder_.file("a.bin"));
  const auto refused = [&](const std::string& bytes, const std::string& what) {
    put(folder_.file("b.bin"), bytes);
    const auto file = read("b.bin");
    ASSERT_FALSE(file) << what;
    EXPECT_THAT(file.error().message, testing::StartsWith("b.bin: ")) << what;
    // Nothing of it is a fault of this side. Of whose it is, the file is believed.
    EXPECT_NE(file.error().kind, ErrorKind::kIo) << what;
  };
  const size_t step = std::max<size_t>(1, right.size() / 2000);
  for (size_t at = 0; at < right.size(); at += at < 512 ? 1 : step) {
    std::string changed = right;
    changed[at] = static_cast<char>(changed[at] ^ 0x40);
    refused(changed, fmt::format("a changed byte at {} of {}", at, right.size()));
    refused(right.substr(0, at), fmt::format("cut at {} of {}", at, right.size()));
  }
  refused(right + "x", "a byte too many");
  put(folder_.file("b.bin"), right);
  EXPECT_TRUE(read("b.bin"));
}

TEST_P(SlotFileTest, OfAnotherModelOrOtherCacheTypes) {
  hold(some_tokens(20, 1));
  ASSERT_TRUE(write("a.bin"));
  auto options = small_passes();
  options.cache.key = quant::Type::kQ8_0;
  TinyEngine others[] = {TinyEngine(test::tiny_model(2, GetParam()), small_passes()),
                         TinyEngine(test::tiny_model(1, GetParam()), options)};
  for (TinyEngine& other : others) {
    Session there = session(other);
    ASSERT_TRUE(there.feed(some_tokens(5, 3)));
    auto file = read("a.bin");
    ASSERT_TRUE(file) << file.error().message;
    const Status loaded = there.load(std::move(file->saved));
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().kind, ErrorKind::kUsage);
    EXPECT_EQ(there.length(), 5);
    ASSERT_TRUE(there.feed(some_tokens(1, 4)));
  }
}

TEST_P(SlotFileTest, WhatASlotCannotTake) {
  hold(some_tokens(100, 1));
  ASSERT_TRUE(write("a.bin"));
  SlotLimits small = limits(engine_);
  small.context = 99;
  const auto file = read_slot_file(folder_.path(), "a.bin", "ann", small);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().kind, ErrorKind::kTooLarge);
  EXPECT_THAT(file.error().message, HasSubstr("-c 100 or more"));
  // The newest checkpoints are taken, the others left out.
  const size_t held = held_.checkpoints().entries().size();
  SlotLimits few = limits(engine_);
  few.memory.checkpoints = 2;
  auto part = read_slot_file(folder_.path(), "a.bin", "ann", few);
  ASSERT_TRUE(part) << part.error().message;
  EXPECT_EQ(part->saved.checkpoints.size(), std::min<size_t>(held, 2));
  if (held > 2) {
    EXPECT_EQ(part->saved.checkpoints.back().position, held_.checkpoints().newest());
  }
}

TEST_P(SlotFileTest, FoldersThatAreNotThere) {
  const auto saved = held_.save();
  ASSERT_TRUE(saved);
  const auto written = write_slot_file(folder_.file("none"), "a.bin", "", *saved);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kIo);
  EXPECT_THAT(written.error().message, HasSubstr("--slot-save-path"));
  EXPECT_EQ(read("none.bin").error().kind, ErrorKind::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Models, SlotFileTest, testing::Values("qwen3moe", "qwen3next"));

TEST(SlotNameTest, PlainNamesOnly) {
  for (const char* name : {"a", "chat.bin", "two words.bin", "größe", "a.b.c", "-x"})
    EXPECT_TRUE(check_slot_name(name)) << name;
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string(".hidden"),
        std::string("a/b"), std::string("/etc/passwd"), std::string("..\\a"), std::string("a..b"),
        std::string("a\nb"), std::string("a\0b", 3), std::string("a\x7f"), std::string(201, 'a')})
    EXPECT_FALSE(check_slot_name(name)) << name;
}

}  // namespace
}  // namespace sluice::server
