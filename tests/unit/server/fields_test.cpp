// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "../engine/tiny_model.h"
#include "server/parameters.h"

namespace sluice::server {
namespace {

using testing::HasSubstr;

TEST(Fields, ReadWithinRanges) {
  const Json json = {{"a", 1}, {"b", 2.5}, {"c", "x"}, {"d", true}, {"e", nullptr}, {"f", 16.0}};
  Fields fields(json, "p");
  EXPECT_EQ(fields.integer("a", 0, 5), 1);
  EXPECT_EQ(fields.number("b", 0, 5), 2.5);
  EXPECT_EQ(fields.text("c"), "x");
  EXPECT_EQ(fields.boolean("d"), true);
  EXPECT_FALSE(fields.has("e"));
  EXPECT_EQ(fields.integer("f", 0, 16), 16);
  EXPECT_FALSE(fields.integer("absent", 0, 5));
  EXPECT_TRUE(fields.status());
  // The first error counts.
  EXPECT_FALSE(fields.integer("b", 0, 5));
  EXPECT_FALSE(fields.text("a"));
  EXPECT_EQ(fields.status().error().param, "p.b");
  EXPECT_EQ(fields.status().error().message, "must be a whole number from 0 to 5");
}

TEST(Fields, OnlyObjectsHaveThem) {
  const Json json = {1};
  EXPECT_THAT(Fields(json).status().error().message, HasSubstr("must be an object, not an array"));
}

class ParametersTest : public testing::Test {
 protected:
  std::string error_of(const Json& body, Dialect dialect = Dialect::kNative) {
    Fields fields(body);
    refuse_unsupported(fields, dialect);
    read_parameters(fields, {267, 128, 4}, *engine_, dialect, parameters_ = {});
    const auto status = fields.status();
    return status ? "" : status.error().param;
  }

  test::TinyEngine engine_{test::tiny_model()};
  Parameters parameters_;
};

TEST_F(ParametersTest, EveryNumberHasARange) {
  const std::vector<Json> values = {INT64_MIN,     -1,    0,    1,     INT32_MAX, INT64_MAX,
                                    UINT64_MAX,    1e308, -1e9, "NaN", false,     Json::array(),
                                    Json::object()};
  const std::vector<const char*> names = {"temperature",
                                          "dynatemp_range",
                                          "dynatemp_exponent",
                                          "top_p",
                                          "min_p",
                                          "typical_p",
                                          "top_n_sigma",
                                          "xtc_probability",
                                          "xtc_threshold",
                                          "repeat_penalty",
                                          "top_k",
                                          "repeat_last_n",
                                          "dry_multiplier",
                                          "dry_base",
                                          "mirostat_tau",
                                          "mirostat_eta",
                                          "mirostat",
                                          "min_keep",
                                          "seed",
                                          "n_predict",
                                          "max_tokens",
                                          "n",
                                          "n_probs",
                                          "t_max_predict_ms",
                                          "presence_penalty",
                                          "frequency_penalty",
                                          "dry_allowed_length",
                                          "dry_penalty_last_n"};
  int refused = 0;
  for (const char* name : names)
    for (const Json& value : values) {
      const std::string param = error_of({{name, value}});
      EXPECT_TRUE(param.empty() || param == name) << name << " " << value << ": " << param;
      if (!value.is_number()) {
        EXPECT_EQ(param, name) << value;
      }
      refused += !param.empty();
      // Whatever was taken can be sampled with.
      if (param.empty()) {
        EXPECT_TRUE(engine_->make_sampler(parameters_.sampling)) << name << " " << value;
      }
    }
  EXPECT_GT(refused, 200);
}

TEST_F(ParametersTest, NamesTheFieldThatIsWrong) {
  EXPECT_EQ(error_of({{"temperature", "hot"}}), "temperature");
  EXPECT_EQ(error_of({{"stop", {"a", 5}}}), "stop[1]");
  EXPECT_EQ(error_of({{"stop", 5}}), "stop");
  EXPECT_EQ(error_of({{"stop", std::string(5000, 'x')}}), "stop[0]");
  EXPECT_EQ(error_of({{"logit_bias", {{"999", 1}}}}), "logit_bias.999");
  EXPECT_EQ(error_of({{"logit_bias", {{"5", "x"}}}}), "logit_bias.5");
  EXPECT_EQ(error_of({{"logit_bias", Json::array({Json::array({5})})}}), "logit_bias[0]");
  EXPECT_EQ(error_of({{"logit_bias", Json::array({Json::array({-1, 1})})}}), "logit_bias[0][0]");
  EXPECT_EQ(error_of({{"samplers", {"nonsense"}}}), "samplers");
  EXPECT_EQ(error_of({{"n", 5}}), "n");
  EXPECT_EQ(error_of({{"stream_options", {{"include_usage", 5}}}}), "stream_options.include_usage");
  EXPECT_EQ(error_of({{"top_logprobs", 5}}, Dialect::kChat), "top_logprobs");
  EXPECT_EQ(error_of({{"grammar", "root ::= x"}}), "grammar");
  EXPECT_EQ(error_of({{"json_schema", Json::object()}}), "json_schema");
  EXPECT_EQ(error_of({{"response_format", {{"type", "json_object"}}}}, Dialect::kChat),
            "response_format");
  EXPECT_EQ(error_of({{"response_format", {{"type", "text"}}}}, Dialect::kChat), "");
  EXPECT_EQ(error_of({{"tool_choice", "required"}}, Dialect::kChat), "tool_choice");
  EXPECT_EQ(error_of({{"text", {{"format", {{"type", "json_schema"}}}}}}, Dialect::kResponses),
            "text.format");
}

TEST_F(ParametersTest, TakesEveryForm) {
  EXPECT_EQ(error_of({{"temperature", 0.5},
                      {"top_k", 7},
                      {"seed", 42},
                      {"max_completion_tokens", 9},
                      {"stop", "x"},
                      {"logit_bias", {{"5", -1.5}}},
                      {"samplers", {"top_k", "temperature"}},
                      {"repeat_last_n", 100000},
                      {"user", "somebody"}}),
            "");
  EXPECT_FLOAT_EQ(parameters_.sampling.temperature, 0.5f);
  EXPECT_EQ(parameters_.sampling.top_k, 7);
  EXPECT_EQ(parameters_.sampling.seed, 42u);
  EXPECT_EQ(parameters_.max_tokens, 9);
  EXPECT_EQ(parameters_.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(parameters_.sampling.logit_bias.at(0), (std::pair<int32_t, float>{5, -1.5f}));
  EXPECT_EQ(parameters_.sampling.sequence, "kt");
  EXPECT_EQ(parameters_.sampling.repeat_last_n, 128);  // the context
  EXPECT_EQ(
      error_of({{"logit_bias", Json::array({Json::array({5, false}), Json::array({"he", 1})})}}),
      "");
  EXPECT_TRUE(std::isinf(parameters_.sampling.logit_bias.at(0).second));
  EXPECT_EQ(error_of({{"logprobs", true}, {"top_logprobs", 3}}, Dialect::kChat), "");
  EXPECT_EQ(parameters_.chances, 3);
  EXPECT_EQ(error_of({{"temperature", nullptr}, {"stop", nullptr}}), "");
}

}  // namespace
}  // namespace sluice::server
