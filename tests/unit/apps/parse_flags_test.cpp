// SPDX-License-Identifier: Apache-2.0
// How a command line is read, on a table of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apps/options.h"
#include "environment.h"

namespace sluice::apps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ParseFlagsTest : public EnvironmentTest {
 protected:
  ParseFlagsTest() {
    flags_ = {
        {"--ctx-size", {"-c"}, "CTX_SIZE", "N", "context", record("ctx")},
        {"--prompt", {"-p"}, "", "TEXT", "prompt", record("prompt")},
        {"--top-n-sigma", {"--top-nsigma"}, "", "N", "sigma", record("sigma")},
        {"--color", {"-co"}, "COLOR", "", "colours", record("color")},
        {"--number", {}, "NUMBER", "N", "a number", [this](const std::string& text) -> Status {
           SLUICE_ASSIGN(const int64_t value, parse_integer(text, 1, 9));
           seen_.push_back("number=" + std::to_string(value));
           return {};
         }}};
  }

  std::function<Status(const std::string&)> record(const std::string& name) {
    return [this, name](const std::string& text) -> Status {
      seen_.push_back(name + "=" + text);
      return {};
    };
  }

  Result<bool> parse(const std::vector<std::string>& arguments,
                     std::vector<std::string>* positional = nullptr) {
    seen_.clear();
    return parse_flags("test", "A command.", flags_, arguments, positional);
  }

  // Parses, and returns what the setters saw in order.
  std::vector<std::string> seen(const std::vector<std::string>& arguments) {
    const auto go = parse(arguments);
    EXPECT_TRUE(go) << go.error().message;
    EXPECT_TRUE(go && *go);
    return seen_;
  }

  void expect_usage_error(const std::vector<std::string>& arguments,
                          const std::vector<std::string>& parts) {
    const auto go = parse(arguments);
    ASSERT_FALSE(go);
    EXPECT_EQ(go.error().kind, ErrorKind::kUsage);
    for (const std::string& part : parts) EXPECT_THAT(go.error().message, HasSubstr(part));
    EXPECT_THAT(go.error().message, testing::Not(HasSubstr("\n")));
  }

  std::vector<Flag> flags_;
  std::vector<std::string> seen_;
};

TEST_F(ParseFlagsTest, EverySpellingOfAValue) {
  EXPECT_THAT(seen({"-c", "5"}), ElementsAre("ctx=5"));
  EXPECT_THAT(seen({"--ctx-size", "5"}), ElementsAre("ctx=5"));
  EXPECT_THAT(seen({"--ctx-size=5"}), ElementsAre("ctx=5"));
  EXPECT_THAT(seen({"--ctx_size", "5"}), ElementsAre("ctx=5"));
  EXPECT_THAT(seen({"--ctx_size=5"}), ElementsAre("ctx=5"));
  EXPECT_THAT(seen({"--top_n_sigma=1", "--top_nsigma", "2", "--top-nsigma=3"}),
              ElementsAre("sigma=1", "sigma=2", "sigma=3"));
}

TEST_F(ParseFlagsTest, ValuesAreTakenAsTheyAre) {
  EXPECT_THAT(seen({"-p", "--help", "-p", "-c", "--prompt=a=b_c", "-p", "", "--prompt="}),
              ElementsAre("prompt=--help", "prompt=-c", "prompt=a=b_c", "prompt=", "prompt="));
  EXPECT_THAT(seen({"-c", "-1"}), ElementsAre("ctx=-1"));
}

TEST_F(ParseFlagsTest, Switches) {
  EXPECT_THAT(seen({"--color"}), ElementsAre("color=true"));
  EXPECT_THAT(seen({"-co"}), ElementsAre("color=true"));
  EXPECT_THAT(seen({"--no-color"}), ElementsAre("color=false"));
  EXPECT_THAT(seen({"--no_color"}), ElementsAre("color=false"));
  EXPECT_THAT(seen({"-no-co"}), ElementsAre("color=false"));
  EXPECT_THAT(seen({"--color=off"}), ElementsAre("color=false"));
  EXPECT_THAT(seen({"--color=on"}), ElementsAre("color=true"));
  EXPECT_THAT(seen({"--no-color=off"}), ElementsAre("color=true"));
  // A switch takes no value from the next argument.
  EXPECT_THAT(seen({"--color", "-c", "1"}), ElementsAre("color=true", "ctx=1"));
  expect_usage_error({"--color=maybe"}, {"--color", "maybe"});
}

TEST_F(ParseFlagsTest, LaterOnesComeLater) {
  EXPECT_THAT(seen({"-c", "1", "--color", "--ctx-size=2", "--no-color"}),
              ElementsAre("ctx=1", "color=true", "ctx=2", "color=false"));
  EXPECT_TRUE(seen({}).empty());
}

TEST_F(ParseFlagsTest, UnknownFlagsAreNamed) {
  for (const char* flag : {"--ctxsize", "--ctx-sizes", "-x", "-cc", "--no-ctx-size", "-no-c", "--",
                           "--no-", "-c=5", "-C5", "--CTX-SIZE"})
    expect_usage_error({flag}, {flag, "unknown flag", "sluice test --help"});
  expect_usage_error({"-c", "1", "--nope=3"}, {"--nope=3"});
}

TEST_F(ParseFlagsTest, MissingValues) {
  expect_usage_error({"-c"}, {"-c", "needs a value", "N"});
  expect_usage_error({"--color", "--prompt"}, {"--prompt", "TEXT"});
}

TEST_F(ParseFlagsTest, ErrorsOfSettersNameFlagAndValue) {
  EXPECT_THAT(seen({"--number", "9"}), ElementsAre("number=9"));
  expect_usage_error({"--number", "10"}, {"--number 10", "from 1 to 9"});
  expect_usage_error({"--number=x"}, {"--number x"});
  set("LLAMA_ARG_NUMBER", "0");
  expect_usage_error({}, {"LLAMA_ARG_NUMBER 0"});
}

TEST_F(ParseFlagsTest, NothingIsSetWhenAnythingIsUnknown) {
  ASSERT_FALSE(parse({"-c", "5", "--nope"}));
  EXPECT_TRUE(seen_.empty());
}

TEST_F(ParseFlagsTest, CommandLineThenSluiceThenLlama) {
  set("LLAMA_ARG_CTX_SIZE", "1");
  EXPECT_THAT(seen({}), ElementsAre("ctx=1"));
  set("SLUICE_ARG_CTX_SIZE", "2");
  EXPECT_THAT(seen({}), ElementsAre("ctx=2"));
  EXPECT_THAT(seen({"-c", "3"}), ElementsAre("ctx=3"));
  EXPECT_THAT(seen({"--ctx-size=3"}), ElementsAre("ctx=3"));
  set("SLUICE_ARG_CTX_SIZE", "");  // as if it were not there
  EXPECT_THAT(seen({}), ElementsAre("ctx=1"));
  set("LLAMA_ARG_CTX_SIZE", "");
  EXPECT_TRUE(seen({}).empty());
}

TEST_F(ParseFlagsTest, SwitchesOfTheEnvironment) {
  set("LLAMA_ARG_COLOR", "1");
  EXPECT_THAT(seen({}), ElementsAre("color=true"));
  EXPECT_THAT(seen({"--no-color"}), ElementsAre("color=false"));
  set("LLAMA_ARG_COLOR", "off");
  EXPECT_THAT(seen({}), ElementsAre("color=false"));
  set("LLAMA_ARG_COLOR", "perhaps");
  expect_usage_error({}, {"LLAMA_ARG_COLOR", "perhaps"});
}

// Where two flags set one thing, the command line has the last word.
TEST_F(ParseFlagsTest, TheEnvironmentComesFirst) {
  set("SLUICE_ARG_COLOR", "on");
  EXPECT_THAT(seen({"-c", "3"}), ElementsAre("color=true", "ctx=3"));
}

// A flag without a variable is not read from one.
TEST_F(ParseFlagsTest, OnlyNamedVariablesCount) {
  set("LLAMA_ARG_PROMPT", "x");
  set("LLAMA_ARG_", "x");
  set("SLUICE_ARG_", "x");
  EXPECT_TRUE(seen({}).empty());
}

TEST_F(ParseFlagsTest, FlagsWithoutAMeaningHereAreSkippedWithTheirValues) {
  EXPECT_THAT(seen({"-ts", "1,1", "-c", "1"}), ElementsAre("ctx=1"));
  EXPECT_THAT(seen({"--tensor-split", "1,1", "-c", "1"}), ElementsAre("ctx=1"));
  EXPECT_THAT(seen({"--tensor_split=1,1", "-c", "1"}), ElementsAre("ctx=1"));
  EXPECT_THAT(seen({"--tensor-split=1,1", "-c", "1"}), ElementsAre("ctx=1"));
  EXPECT_THAT(seen({"--mlock", "-c", "1", "--no-mmap"}), ElementsAre("ctx=1"));
  EXPECT_THAT(seen({"-lzm", "on", "-lzm", "off", "-c", "1", "-sm", "row"}), ElementsAre("ctx=1"));
  EXPECT_THAT(seen({"-ts"}), testing::IsEmpty());  // its value is missing: no matter
}

TEST_F(ParseFlagsTest, PositionalArguments) {
  expect_usage_error({"hello"}, {"hello", "-p"});
  std::vector<std::string> positional;
  const auto go = parse({"in.gguf", "-c", "1", "-", "out.gguf"}, &positional);
  ASSERT_TRUE(go);
  EXPECT_THAT(positional, ElementsAre("in.gguf", "-", "out.gguf"));
  EXPECT_THAT(seen_, ElementsAre("ctx=1"));
}

TEST_F(ParseFlagsTest, HelpListsEveryFlagAndSetsNothing) {
  for (const char* help : {"-h", "--help", "--usage"}) {
    testing::internal::CaptureStdout();
    const auto go = parse({"-c", "5", help});
    const std::string text = testing::internal::GetCapturedStdout();
    ASSERT_TRUE(go);
    EXPECT_FALSE(*go);
    EXPECT_TRUE(seen_.empty());
    for (const Flag& flag : flags_) {
      EXPECT_THAT(text, HasSubstr(flag.name));
      EXPECT_THAT(text, HasSubstr(flag.help));
      for (const std::string& alias : flag.aliases) EXPECT_THAT(text, HasSubstr(alias + ", "));
    }
    EXPECT_THAT(text, HasSubstr("A command."));
    EXPECT_THAT(text, HasSubstr("LLAMA_ARG_CTX_SIZE"));
  }
}

}  // namespace
}  // namespace sluice::apps
