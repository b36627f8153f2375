// SPDX-License-Identifier: Apache-2.0
// The flags that several commands share: what they set, and which values they take.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "apps/options.h"
#include "environment.h"

namespace sluice::apps {
namespace {

using engine::SamplingParams;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

class CommonFlagsTest : public EnvironmentTest {
 protected:
  static std::vector<Flag> flags(CommonOptions& options) {
    std::vector<Flag> all = model_flags(options);
    for (Flag& flag : sampling_flags(options)) all.push_back(std::move(flag));
    return all;
  }

  CommonOptions parse(const std::vector<std::string>& arguments) {
    CommonOptions options;
    const auto go = parse_flags("run", "", flags(options), arguments);
    EXPECT_TRUE(go) << go.error().message;
    return options;
  }

  SamplingParams sampling(const std::vector<std::string>& arguments) {
    return parse(arguments).apply_sampling({});
  }

  void expect_refused(const std::string& flag, const std::vector<std::string>& values) {
    for (const std::string& value : values) {
      CommonOptions options;
      const auto go = parse_flags("run", "", flags(options), {flag, value});
      ASSERT_FALSE(go) << flag << " " << value;
      EXPECT_EQ(go.error().kind, ErrorKind::kUsage);
      EXPECT_THAT(go.error().message, HasSubstr(value));
    }
  }
};

TEST_F(CommonFlagsTest, SpellingsAreUnique) {
  CommonOptions options;
  std::set<std::string> names, variables;
  for (const Flag& flag : flags(options)) {
    EXPECT_TRUE(flag.name.starts_with("--")) << flag.name;
    EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
    for (const std::string& alias : flag.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
    if (!flag.variable.empty()) {
      EXPECT_TRUE(variables.insert(flag.variable).second) << flag.variable;
    }
    EXPECT_FALSE(flag.help.empty());
    EXPECT_TRUE(flag.set);
  }
}

TEST_F(CommonFlagsTest, WhereTheModelComesFrom) {
  EXPECT_FALSE(parse({}).source.given());
  EXPECT_FALSE(parse({"-m", "a.gguf"}).source.given());
  const CommonOptions hub =
      parse({"-hf", "o/m:Q8_0", "-hff", "x.gguf", "-hft", "secret", "--offline"});
  EXPECT_EQ(hub.source.repository, "o/m:Q8_0");
  EXPECT_EQ(hub.source.file, "x.gguf");
  EXPECT_EQ(hub.source.token, "secret");
  EXPECT_TRUE(hub.source.offline);
  EXPECT_EQ(parse({"-mu", "https://h/m.gguf"}).source.address, "https://h/m.gguf");
  for (const char* name : {"-hf", "-hfr", "--hf-repo"})
    EXPECT_TRUE(parse({name, "o/m"}).source.given()) << name;
}

TEST_F(CommonFlagsTest, TheLastModelCounts) {
  const CommonOptions file = parse({"-hf", "o/m", "-mu", "https://h/m.gguf", "-m", "a.gguf"});
  EXPECT_FALSE(file.source.given());
  EXPECT_EQ(file.engine.model_path, "a.gguf");
  set("LLAMA_ARG_MODEL", "b.gguf");
  const CommonOptions hub = parse({"-hf", "o/m"});
  EXPECT_TRUE(hub.source.given());
  EXPECT_EQ(hub.engine.model_path, "");
  set("LLAMA_ARG_HF_REPO", "o/n");
  EXPECT_EQ(parse({"-m", "a.gguf"}).engine.model_path, "a.gguf");
}

TEST_F(CommonFlagsTest, HowExpertsAreRead) {
  using engine::LoadMode;
  EXPECT_EQ(parse({}).engine.reading.mode, LoadMode::kAuto);
  EXPECT_TRUE(parse({}).engine.warm_start);
  EXPECT_FALSE(parse({"--no-warm-start"}).engine.warm_start);
  const std::vector<std::pair<std::string, LoadMode>> modes = {
      {"auto", LoadMode::kAuto},     {"none", LoadMode::kBuffered},
      {"mmap", LoadMode::kBuffered}, {"mlock", LoadMode::kBuffered},
      {"dio", LoadMode::kDirect},    {"mmap+mlock", LoadMode::kBuffered}};
  for (const auto& [name, mode] : modes) {
    EXPECT_EQ(parse({"-lm", name}).engine.reading.mode, mode) << name;
    EXPECT_EQ(parse({"--load-mode=" + name}).engine.reading.mode, mode) << name;
  }
  EXPECT_EQ(parse({"-dio"}).engine.reading.mode, LoadMode::kDirect);
  set("LLAMA_ARG_LOAD_MODE", "dio");
  EXPECT_EQ(parse({}).engine.reading.mode, LoadMode::kDirect);
  expect_refused("-lm", {"", "direct", "Auto"});
  using engine::DiskProfiling;
  EXPECT_EQ(parse({"--disk-profile", "again"}).engine.reading.profiling, DiskProfiling::kAgain);
  EXPECT_EQ(parse({"--disk-profile", "off"}).engine.reading.profiling, DiskProfiling::kOff);
  expect_refused("--disk-profile", {"", "on"});
}

TEST_F(CommonFlagsTest, WhereTensorsLie) {
  const auto texts = [](const CommonOptions& o) {
    std::vector<std::string> all;
    for (const auto& one : o.engine.overrides) all.push_back(one.text());
    return all;
  };
  EXPECT_TRUE(parse({}).engine.overrides.empty());
  EXPECT_THAT(texts(parse({"-ot", "a=CPU,b=CUDA0", "--override-tensor", "c=CPU"})),
              ElementsAre("a=CPU", "b=CUDA0", "c=CPU"));
  expect_refused("-ot", {"exps", "exps=GPU", "(=CPU"});
  set("LLAMA_ARG_OVERRIDE_TENSOR", "d=CPU");
  EXPECT_THAT(texts(parse({})), ElementsAre("d=CPU"));
  EXPECT_THAT(texts(parse({"-ot", "a=CPU"})), ElementsAre("a=CPU"));
}

TEST_F(CommonFlagsTest, ModelFlags) {
  const CommonOptions o = parse({"-m",
                                 "a.gguf",
                                 "-c",
                                 "4096",
                                 "-t",
                                 "3",
                                 "--isa",
                                 "scalar",
                                 "-ctk",
                                 "q8_0",
                                 "-ctv",
                                 "IQ4_NL",
                                 "-fa",
                                 "auto",
                                 "--rope-scaling",
                                 "yarn",
                                 "--rope-scale",
                                 "4",
                                 "--rope-freq-base",
                                 "5e6",
                                 "--yarn-orig-ctx",
                                 "32768",
                                 "-lv",
                                 "3"});
  EXPECT_EQ(o.engine.model_path, "a.gguf");
  EXPECT_EQ(o.engine.context, 4096);
  EXPECT_EQ(o.engine.threads, 3);
  EXPECT_EQ(o.engine.isa, "scalar");
  EXPECT_EQ(o.engine.cache.key, quant::Type::kQ8_0);
  EXPECT_EQ(o.engine.cache.value, quant::Type::kIQ4_NL);
  EXPECT_EQ(o.engine.rope.scaling, model::RopeScaling::kYarn);
  EXPECT_EQ(o.engine.rope.factor, 4);
  EXPECT_EQ(o.engine.rope.freq_base, 5e6);
  EXPECT_EQ(o.engine.rope.original_context, 32768);
  EXPECT_EQ(o.verbosity, 3);
}

TEST_F(CommonFlagsTest, Defaults) {
  const CommonOptions o = parse({});
  EXPECT_EQ(o.engine.context, 0);
  EXPECT_EQ(o.engine.ubatch, 512);
  EXPECT_EQ(o.engine.threads, 0);
  EXPECT_EQ(o.engine.cache.key, quant::Type::kF16);
  EXPECT_FALSE(o.engine.rope.scaling);
  EXPECT_FALSE(o.engine.rope.factor);
  EXPECT_EQ(o.verbosity, 2);
  EXPECT_TRUE(o.sampling.empty());
}

TEST_F(CommonFlagsTest, Memory) {
  EXPECT_EQ(parse({}).engine.ram_bytes, 0u);  // what is free
  EXPECT_EQ(parse({"--ram", "12G"}).engine.ram_bytes, uint64_t{12} << 30);
  EXPECT_EQ(parse({"--ram=900M"}).engine.ram_bytes, uint64_t{900} << 20);
  expect_refused("--ram", {"much", "-1", "12Q", "1e9"});
  set("SLUICE_ARG_RAM", "8GiB");
  EXPECT_EQ(parse({}).engine.ram_bytes, uint64_t{8} << 30);
  EXPECT_EQ(parse({"--ram", "0"}).engine.ram_bytes, 0u);
}

TEST_F(CommonFlagsTest, Threads) {
  EXPECT_EQ(parse({"-t", "-1"}).engine.threads, 0);  // all
  EXPECT_EQ(parse({"--threads=1024"}).engine.threads, 1024);
  expect_refused("-t", {"0", "-2", "1025", "two", ""});
}

TEST_F(CommonFlagsTest, BatchSizesInAnyOrder) {
  EXPECT_EQ(parse({"-ub", "64"}).engine.ubatch, 64);
  EXPECT_EQ(parse({"-b", "128"}).engine.ubatch, 128);
  EXPECT_EQ(parse({"-b", "4096"}).engine.ubatch, 512);
  EXPECT_EQ(parse({"-ub", "256", "-b", "128"}).engine.ubatch, 128);
  EXPECT_EQ(parse({"-b", "128", "-ub", "256"}).engine.ubatch, 128);
  EXPECT_EQ(parse({"-b", "4096", "-ub", "4096"}).engine.ubatch, 4096);
  EXPECT_EQ(parse({"-ub", "4096"}).engine.ubatch, 2048);
  EXPECT_EQ(parse({"-b", "32", "-b", "1024", "-ub", "1024"}).engine.ubatch, 1024);
  set("LLAMA_ARG_BATCH", "100");
  EXPECT_EQ(parse({"-ub", "200"}).engine.ubatch, 100);
  expect_refused("-ub", {"0", "-1", "65537"});
  expect_refused("-b", {"0", "-1", "3000000000"});
}

TEST_F(CommonFlagsTest, VerboseOnTheCommandLineBeatsTheEnvironment) {
  set("LLAMA_ARG_LOG_VERBOSITY", "1");
  EXPECT_EQ(parse({}).verbosity, 1);
  EXPECT_EQ(parse({"-v"}).verbosity, 4);
  EXPECT_EQ(parse({"-v", "-lv", "0"}).verbosity, 0);
  EXPECT_EQ(parse({"-lv", "0", "-v"}).verbosity, 4);
}

TEST_F(CommonFlagsTest, ModelFlagsRefuse) {
  expect_refused("-c", {"-1", "x", "1.5", "1099511627777"});
  expect_refused("-ctk", {"f8", "q9_0", ""});
  expect_refused("-fa", {"maybe", ""});
  expect_refused("--rope-scaling", {"longrope", "YARN"});
  expect_refused("--rope-scale", {"0", "-2", "nan", "inf", "1e7"});
  expect_refused("--rope-freq-base", {"0", "x"});
  expect_refused("--yarn-orig-ctx", {"0", "-4"});
  expect_refused("-lv", {"-1", "101"});
  EXPECT_EQ(parse({"--rope-scaling", "none"}).engine.rope.scaling, model::RopeScaling::kNone);
  EXPECT_EQ(parse({"--rope-scaling", "linear"}).engine.rope.scaling, model::RopeScaling::kLinear);
}

TEST_F(CommonFlagsTest, EverySamplingNumberReachesItsField) {
  const SamplingParams p = sampling({"--seed",
                                     "7",
                                     "--temp",
                                     "0.5",
                                     "--top-k",
                                     "11",
                                     "--top-p",
                                     "0.25",
                                     "--min-p",
                                     "0.125",
                                     "--top-nsigma",
                                     "2",
                                     "--typical",
                                     "0.75",
                                     "--xtc-probability",
                                     "0.5",
                                     "--xtc-threshold",
                                     "0.25",
                                     "--repeat-last-n",
                                     "33",
                                     "--repeat-penalty",
                                     "1.5",
                                     "--presence-penalty",
                                     "-0.5",
                                     "--frequency-penalty",
                                     "0.5",
                                     "--dry-multiplier",
                                     "0.5",
                                     "--dry-base",
                                     "2",
                                     "--dry-allowed-length",
                                     "3",
                                     "--dry-penalty-last-n",
                                     "44",
                                     "--dynatemp-range",
                                     "0.25",
                                     "--dynatemp-exp",
                                     "2",
                                     "--mirostat",
                                     "2",
                                     "--mirostat-lr",
                                     "0.5",
                                     "--mirostat-ent",
                                     "6",
                                     "--min-keep",
                                     "4",
                                     "--ignore-eos",
                                     "--samplers",
                                     "top_k;temperature"});
  EXPECT_EQ(p.seed, 7u);
  EXPECT_EQ(p.temperature, 0.5f);
  EXPECT_EQ(p.top_k, 11);
  EXPECT_EQ(p.top_p, 0.25f);
  EXPECT_EQ(p.min_p, 0.125f);
  EXPECT_EQ(p.top_n_sigma, 2);
  EXPECT_EQ(p.typical_p, 0.75f);
  EXPECT_EQ(p.xtc_probability, 0.5f);
  EXPECT_EQ(p.xtc_threshold, 0.25f);
  EXPECT_EQ(p.repeat_last_n, 33);
  EXPECT_EQ(p.repeat_penalty, 1.5f);
  EXPECT_EQ(p.presence_penalty, -0.5f);
  EXPECT_EQ(p.frequency_penalty, 0.5f);
  EXPECT_EQ(p.dry_multiplier, 0.5f);
  EXPECT_EQ(p.dry_base, 2);
  EXPECT_EQ(p.dry_allowed_length, 3);
  EXPECT_EQ(p.dry_penalty_last_n, 44);
  EXPECT_EQ(p.dynatemp_range, 0.25f);
  EXPECT_EQ(p.dynatemp_exponent, 2);
  EXPECT_EQ(p.mirostat, 2);
  EXPECT_EQ(p.mirostat_eta, 0.5f);
  EXPECT_EQ(p.mirostat_tau, 6);
  EXPECT_EQ(p.min_keep, 4);
  EXPECT_TRUE(p.ignore_eos);
  EXPECT_EQ(p.sequence, "kt");
}

// Flags change what the model's file recommends, not what they do not name.
TEST_F(CommonFlagsTest, SamplingFlagsOverlayTheModelsDefaults) {
  SamplingParams recommended;
  recommended.temperature = 0.7f;
  recommended.top_k = 20;
  const SamplingParams p = parse({"--top-k", "5"}).apply_sampling(recommended);
  EXPECT_EQ(p.temperature, 0.7f);
  EXPECT_EQ(p.top_k, 5);
  EXPECT_EQ(parse({"--top-k", "5", "--top_k", "6"}).apply_sampling(recommended).top_k, 6);
}

TEST_F(CommonFlagsTest, Seeds) {
  EXPECT_EQ(sampling({"-s", "-1"}).seed, UINT64_MAX);
  EXPECT_EQ(sampling({"-s", "4294967295"}).seed, 4294967295u);
  EXPECT_EQ(sampling({"-s", "9223372036854775807"}).seed, uint64_t{INT64_MAX});
  expect_refused("-s", {"-2", "9223372036854775808", "x"});
}

TEST_F(CommonFlagsTest, SamplingNumbersOutOfRange) {
  expect_refused("--temp", {"-1.5", "nan", "hot"});
  expect_refused("--top-k", {"-2", "1.5", "2147483648"});
  expect_refused("--top-p", {"1.1", "-0.1"});
  expect_refused("--min-p", {"1.1", "-0.1"});
  expect_refused("--typical", {"2"});
  expect_refused("--xtc-probability", {"2", "-1"});
  expect_refused("--repeat-last-n", {"-2"});
  expect_refused("--repeat-penalty", {"0", "-1"});
  expect_refused("--mirostat", {"3", "-1"});
  expect_refused("--min-keep", {"-1"});
  expect_refused("--samplers", {"top_k;magic"});
  expect_refused("--sampler-seq", {"kq"});
}

TEST_F(CommonFlagsTest, LogitBias) {
  EXPECT_THAT(sampling({"-l", "15043+1"}).logit_bias, ElementsAre(Pair(15043, 1.0f)));
  EXPECT_THAT(sampling({"-l", "15043-1.5"}).logit_bias, ElementsAre(Pair(15043, -1.5f)));
  EXPECT_THAT(sampling({"--logit-bias=7-1e-3", "-l", "0+2e1"}).logit_bias,
              ElementsAre(Pair(7, -1e-3f), Pair(0, 20.0f)));
  EXPECT_THAT(sampling({"-l", "9-inf"}).logit_bias, ElementsAre(Pair(9, -INFINITY)));
  expect_refused("-l", {"", "15043", "15043+", "15043-", "+1", "-5+1", "x+1", "5+x", "5+inf",
                        "5+nan", "1e3+1", "5++1", "5+-1", "5 +1", "5+ 1", "2147483648+1"});
}

TEST_F(CommonFlagsTest, SequenceBreakersReplaceTheDefaults) {
  EXPECT_EQ(sampling({}).dry_sequence_breakers.size(), 4u);
  EXPECT_THAT(sampling({"--dry-sequence-breaker", "x"}).dry_sequence_breakers, ElementsAre("x"));
  EXPECT_THAT(sampling({"--dry-sequence-breaker", "x", "--dry-sequence-breaker", "\n"})
                  .dry_sequence_breakers,
              ElementsAre("x", "\n"));
  EXPECT_TRUE(sampling({"--dry-sequence-breaker", "none"}).dry_sequence_breakers.empty());
}

TEST_F(CommonFlagsTest, SwitchesOff) {
  EXPECT_FALSE(sampling({"--ignore-eos", "--no-ignore-eos"}).ignore_eos);
  EXPECT_EQ(parse({"--no-verbose"}).verbosity, 2);
}

}  // namespace
}  // namespace sluice::apps
