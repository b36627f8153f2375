// SPDX-License-Identifier: Apache-2.0
#include "apps/bench_parameters.h"

#include <gmock/gmock.h>

#include "environment.h"

namespace sluice::apps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int64_t> ranges(const std::string& text, int64_t least = 0) {
  const auto values = parse_ranges(text, least, 1000);
  EXPECT_TRUE(values) << text << ": " << values.error().message;
  return values.value_or(std::vector<int64_t>{});
}

TEST(ParseRangesTest, ListsAndRanges) {
  EXPECT_THAT(ranges("512"), ElementsAre(512));
  EXPECT_THAT(ranges("1,2,4"), ElementsAre(1, 2, 4));
  EXPECT_THAT(ranges("1-4"), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(ranges("1-8+2"), ElementsAre(1, 3, 5, 7));
  EXPECT_THAT(ranges("1-8*2"), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(ranges("0,100-200+100,3-3"), ElementsAre(0, 100, 200, 3));
  EXPECT_THAT(ranges("7,"), ElementsAre(7));
  EXPECT_THAT(ranges("-1,99", -5), ElementsAre(-1, 99));
  EXPECT_THAT(ranges("-2-1", -5), ElementsAre(-2, -1, 0, 1));
  EXPECT_THAT(ranges("0-0*2"), ElementsAre(0));
}

TEST(ParseRangesTest, Errors) {
  for (const char* text : {"",
                           ",",
                           "a",
                           "1-",
                           "-1",
                           "1-2+",
                           "1-2*",
                           "1-2-3",
                           "1 ,2",
                           "1,,2",
                           "+1",
                           "1.5",
                           "8-1",
                           "0-8*2",
                           "1-8+0",
                           "1-8*1",
                           "1001",
                           "1-1001",
                           "99999999999999999999",
                           "1-2|2"}) {
    const auto values = parse_ranges(text, 0, 1000);
    ASSERT_FALSE(values) << text;
    EXPECT_EQ(values.error().kind, ErrorKind::kUsage);
  }
  EXPECT_THAT(parse_ranges("8-1", 0, 9).error().message, HasSubstr("from 8 to 1 is empty"));
  EXPECT_THAT(parse_ranges("10", 0, 9).error().message, HasSubstr("from 0 to 9"));
  EXPECT_THAT(parse_ranges("1-200000", 0, 1 << 20).error().message, HasSubstr("100000"));
}

class BenchParametersTest : public EnvironmentTest {
 protected:
  // The parsed request; its flags point into it, so it stays where it is.
  BenchRequest& parse(std::vector<std::string> arguments) {
    request_ = std::make_unique<BenchRequest>();
    arguments.insert(arguments.begin(), {"-m", "a.gguf"});
    const auto go = parse_bench(arguments, *request_);
    EXPECT_TRUE(go) << go.error().message;
    return *request_;
  }

  void expect_error(const std::vector<std::string>& arguments, const std::string& part) {
    BenchRequest request;
    const auto go = parse_bench(arguments, request);
    ASSERT_FALSE(go) << part;
    EXPECT_EQ(go.error().kind, ErrorKind::kUsage);
    EXPECT_THAT(go.error().message, HasSubstr(part));
  }

  // "pp512 d0" of every case.
  std::vector<std::string> tests(const std::vector<std::string>& arguments) {
    std::vector<std::string> names;
    for (const BenchCase& one : bench_cases(parse(arguments)))
      names.push_back(
          fmt::format("pp{} tg{} d{}", one.test.prompt, one.test.generate, one.test.depth));
    return names;
  }

  std::unique_ptr<BenchRequest> request_;
};

TEST_F(BenchParametersTest, Defaults) {
  EXPECT_THAT(tests({}), ElementsAre("pp512 tg0 d0", "pp0 tg128 d0"));
  const BenchCase one = bench_cases(parse({}))[0];
  EXPECT_EQ(one.value("model_filename"), "a.gguf");
  EXPECT_EQ(one.integer("n_batch"), 2048);
  EXPECT_EQ(one.integer("n_ubatch"), 512);
  EXPECT_EQ(one.value("type_k"), "f16");
  EXPECT_EQ(one.value("flash_attn"), "-1");
  EXPECT_EQ(one.value("n_gpu_layers"), "-1");
  EXPECT_EQ(parse({}).repetitions, 5);
  EXPECT_TRUE(parse({}).warmup);
  EXPECT_EQ(parse({}).output, BenchFormat::kMarkdown);
  EXPECT_EQ(parse({}).error_output, BenchFormat::kNone);
}

TEST_F(BenchParametersTest, TestsInOrder) {
  EXPECT_THAT(tests({"-p", "8,16", "-n", "4", "-pg", "8,4", "-pg", "1,0"}),
              ElementsAre("pp8 tg0 d0", "pp16 tg0 d0", "pp0 tg4 d0", "pp8 tg4 d0", "pp1 tg0 d0"));
  EXPECT_THAT(tests({"-p", "8", "-p", "16", "-n", "0"}), ElementsAre("pp8 tg0 d0", "pp16 tg0 d0"));
  EXPECT_THAT(tests({"-p", "0", "-n", "4", "-d", "0,512-1024+512"}),
              ElementsAre("pp0 tg4 d0", "pp0 tg4 d512", "pp0 tg4 d1024"));
  EXPECT_TRUE(tests({"-p", "0", "-n", "0", "-pg", "0,0"}).empty());
}

TEST_F(BenchParametersTest, ProductInLlamaBenchsOrder) {
  std::vector<std::string> seen;
  for (const BenchCase& one : bench_cases(parse(
           {"-p", "8", "-n", "0", "-t", "1-2", "-ctk", "f16,q8_0", "-d", "0,4", "-m", "b.gguf"})))
    seen.push_back(fmt::format("{} {} t{} d{}", one.value("model_filename"), one.value("type_k"),
                               one.value("n_threads"), one.test.depth));
  EXPECT_THAT(seen, ElementsAre("a.gguf f16 t1 d0", "a.gguf f16 t1 d4", "a.gguf f16 t2 d0",
                                "a.gguf f16 t2 d4", "a.gguf q8_0 t1 d0", "a.gguf q8_0 t1 d4",
                                "a.gguf q8_0 t2 d0", "a.gguf q8_0 t2 d4", "b.gguf f16 t1 d0",
                                "b.gguf f16 t1 d4", "b.gguf f16 t2 d0", "b.gguf f16 t2 d4",
                                "b.gguf q8_0 t1 d0", "b.gguf q8_0 t1 d4", "b.gguf q8_0 t2 d0",
                                "b.gguf q8_0 t2 d4"));
}

TEST_F(BenchParametersTest, ValuesAsTheyAreShown) {
  EXPECT_THAT(parse({"-fa", "on,off,auto,1"}).list("flash_attn"), ElementsAre("1", "0", "-1", "1"));
  EXPECT_THAT(parse({"-nopo", "1,off"}).list("no_op_offload"), ElementsAre("1", "0"));
  EXPECT_THAT(parse({"-ts", "3/1,0,1;0;2/0"}).list("tensor_split"),
              ElementsAre("3.00/1.00", "0.00", "1.00/0.00/2.00"));
  EXPECT_THAT(parse({"-mmp", "0,1"}).list("load_mode"), ElementsAre("none", "mmap"));
  EXPECT_THAT(parse({"-ot", "a=CPU;b=CPU,"}).list("tensor_buft_overrides"),
              ElementsAre("a=CPU;b=CPU", "none"));
  EXPECT_THAT(parse({"--n_gpu_layers", "-1,99"}).list("n_gpu_layers"), ElementsAre("-1", "99"));
}

TEST_F(BenchParametersTest, ShownWhenNotTheDefault) {
  EXPECT_FALSE(parse({}).shown("n_batch"));
  EXPECT_FALSE(parse({"-b", "2048"}).shown("n_batch"));
  EXPECT_TRUE(parse({"-b", "2048,2048"}).shown("n_batch"));
  EXPECT_TRUE(parse({"-b", "1024"}).shown("n_batch"));
}

TEST_F(BenchParametersTest, Switches) {
  const BenchRequest& r = parse(
      {"--no-warmup", "--progress", "-r", "2", "--delay", "1", "-o", "jsonl", "-oe", "md", "-v"});
  EXPECT_FALSE(r.warmup);
  EXPECT_TRUE(r.progress);
  EXPECT_EQ(r.repetitions, 2);
  EXPECT_EQ(r.delay, 1);
  EXPECT_EQ(r.output, BenchFormat::kJsonl);
  EXPECT_EQ(r.error_output, BenchFormat::kMarkdown);
  EXPECT_EQ(r.common.verbosity, 4);
}

TEST_F(BenchParametersTest, Errors) {
  expect_error({}, "-m");
  expect_error({"-m", "a", "-p", "x"}, "-p x: must be a list of numbers or ranges");
  expect_error({"-m", "a", "-pg", "5"}, "-pg 5: must be two numbers");
  expect_error({"-m", "a", "-ctk", "q4_k"}, "\"q4_k\" must be one of f32, f16");
  expect_error({"-m", "a", "-o", "xml"}, "must be csv, json");
  expect_error({"-m", "a", "-r", "0"}, "-r 0: must be a whole number from 1");
  expect_error({"-m", "a", "-t", "0"}, "from 1 to 1024");
  expect_error({"-m", "a,"}, "empty");
  expect_error({"-m", "a", "-C", "0xz"}, "hexadecimal");
  expect_error({"-m", "a", "-ot", "blk"}, "PATTERN=BUFFER");
  expect_error({"-m", "a", "-fa", "maybe"}, "on, off or auto");
  expect_error({"-m", "a", "-dev", "CUDA0"}, "must be one of auto, none");
  expect_error({"-m", "a", "extra"}, "unexpected argument");
}

}  // namespace
}  // namespace sluice::apps
