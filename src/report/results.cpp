// SPDX-License-Identifier: Apache-2.0
// What the measured processes told.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "report/study.h"

namespace sluice::report {
namespace {

using Json = nlohmann::json;

double number(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : kUnknown;
}

std::string text(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

Result<Speeds> parse_speeds(const std::string& json, Model& model) {
  const Json tests = Json::parse(json, nullptr, false);
  if (!tests.is_array() || tests.empty())
    return fail(ErrorKind::kBadFile, "`sluice bench` ended well, but its output is no JSON array");
  Speeds speeds;
  for (const Json& test : tests) {
    if (!test.is_object() || !known(number(test, "avg_ts")))
      return fail(ErrorKind::kBadFile, "the output of `sluice bench` has a test without avg_ts");
    model.type = text(test, "model_type");
    if (const double count = number(test, "model_n_params"); known(count))
      model.parameters = static_cast<uint64_t>(count);
    speeds.backend = text(test, "backend_description");
    speeds.load_seconds = number(test, "load_ns") / 1e9;
    const double hits = number(test, "experts_ram"), misses = number(test, "experts_ssd");
    double total = 0;
    if (const auto samples = test.find("samples_ns"); samples != test.end() && samples->is_array())
      for (const Json& ns : *samples)
        if (ns.is_number()) total += ns.get<double>();
    const double waiting = total > 0 ? number(test, "experts_stalled_ns") / total : kUnknown;
    const double deviation = test.contains("samples_ns") && test["samples_ns"].size() > 1
                                 ? number(test, "stddev_ts")
                                 : kUnknown;
    if (number(test, "n_gen") > 0) {
      speeds.generation = number(test, "avg_ts");
      speeds.generation_deviation = deviation;
      speeds.waiting = waiting;
      if (hits + misses > 0) speeds.experts_in_memory = hits / (hits + misses);
      if (const double rate = number(test, "experts_read_gbs"); rate > 0)
        speeds.read_rate = rate * 1e9;
    } else {
      speeds.prompt = number(test, "avg_ts");
      speeds.prompt_deviation = deviation;
      speeds.prompt_waiting = waiting;
    }
  }
  return speeds;
}

Result<Answer> parse_answer(const Outcome& outcome) {
  Answer answer;
  bool found = false;
  for (const Line& line : outcome.errors) {
    long long prompt = 0, generated = 0;
    double prompt_rate = 0, rate = 0, first = 0, share = 0;
    if (std::sscanf(line.text.c_str(),
                    "[ Prompt: %lld tokens, %lf t/s | Generation: %lld tokens, %lf t/s | First "
                    "token: %lf s",
                    &prompt, &prompt_rate, &generated, &rate, &first) == 5) {
      found = true;
      answer.prompt_tokens = prompt;
      answer.generated_tokens = generated;
      answer.prompt_rate = prompt_rate;
      answer.first_token = first;
      if (generated > 1) answer.generation_rate = rate;
    } else if (std::sscanf(line.text.c_str(), "[ Experts: %lf %% of", &share) == 1) {
      answer.experts_in_memory = share / 100;
    }
  }
  if (!found)
    return fail(ErrorKind::kBadFile,
                "`sluice run` ended well, but its last line has no speeds and no time to the "
                "first token");
  answer.text = outcome.output;
  while (!answer.text.empty() && answer.text.back() == '\n') answer.text.pop_back();
  return answer;
}

}  // namespace sluice::report
