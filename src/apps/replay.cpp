// SPDX-License-Identifier: Apache-2.0
// sluice replay: what caches of experts would have hit in a recorded run.
#include "residency/replay.h"

#include "apps/commands.h"
#include "apps/options.h"

namespace sluice::apps {
namespace {

struct ReplayFlags {
  bool lru = true;
  std::vector<double> percents = {12.5, 25, 40};
  std::string chosen_on;
  int64_t first_step = 0;
};

Status set_percents(std::vector<double>& percents, const std::string& text) {
  percents.clear();
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    SLUICE_ASSIGN(const double percent, parse_number(text.substr(at, comma - at), 0, 100));
    percents.push_back(percent);
    at = comma + 1;
  }
  return {};
}

std::vector<Flag> replay_flags(ReplayFlags& o) {
  std::vector<Flag> flags;
  flags.push_back({"--policy",
                   {},
                   "",
                   "lru|static",
                   "keep what was used last, or a fixed set (lru)",
                   [&o](const std::string& text) -> Status {
                     if (text != "lru" && text != "static")
                       return fail(ErrorKind::kUsage, "must be lru or static");
                     o.lru = text == "lru";
                     return {};
                   }});
  flags.push_back({"--slots",
                   {},
                   "",
                   "PERCENT,...",
                   "experts that each layer has room for (12.5,25,40)",
                   [&o](const std::string& text) { return set_percents(o.percents, text); }});
  flags.push_back({"--chosen-on",
                   {},
                   "",
                   "TRACE",
                   "static: the set is the most used of this trace; default: of the same one",
                   [&o](const std::string& text) -> Status {
                     o.chosen_on = text;
                     return {};
                   }});
  flags.push_back({"--from",
                   {},
                   "",
                   "STEP",
                   "count from this step on; 1 leaves out a prompt read at once (0)",
                   [&o](const std::string& text) -> Status {
                     SLUICE_ASSIGN(o.first_step, parse_integer(text, 0, INT64_MAX));
                     return {};
                   }});
  return flags;
}

}  // namespace

Status replay_command(const Arguments& arguments) {
  ReplayFlags flags;
  std::vector<std::string> positional;
  SLUICE_ASSIGN(const bool go, parse_flags("replay",
                                           "Hit rates of expert caches on a trace of `sluice run "
                                           "--trace`: sluice replay TRACE",
                                           replay_flags(flags), arguments, &positional));
  if (!go) return {};
  if (positional.size() != 1)
    return fail(ErrorKind::kUsage, "needs one TRACE, from sluice run --trace");
  if (flags.lru && !flags.chosen_on.empty())
    return fail(ErrorKind::kUsage, "--chosen-on: only with --policy static");
  SLUICE_ASSIGN(const residency::Trace trace, residency::read_trace(positional[0]));
  residency::Trace other;
  if (!flags.chosen_on.empty()) {
    SLUICE_ASSIGN(other, residency::read_trace(flags.chosen_on));
    if (other.layers != trace.layers || other.experts != trace.experts)
      return fail(ErrorKind::kUsage,
                  "--chosen-on: {} has {} layers of {} experts, {} has {} of {}: use two traces of "
                  "one model",
                  flags.chosen_on, other.layers, other.experts, positional[0], trace.layers,
                  trace.experts);
  }
  const residency::Trace& chosen_on = flags.chosen_on.empty() ? trace : other;

  std::string text = fmt::format("{} layers of {} experts, {} steps\n", trace.layers, trace.experts,
                                 trace.steps());
  for (const double percent : flags.percents) {
    const int64_t slots = residency::slots_of(trace, percent);
    const residency::HitCount count =
        flags.lru ? residency::replay_lru(trace, slots, flags.first_step)
                  : residency::replay_static(chosen_on, trace, slots, flags.first_step);
    text += fmt::format("{:6} {:5.1f} %  {:4} slots  hits {:5.1f} % of {}\n",
                        flags.lru ? "lru" : "static", percent, slots, 100 * count.rate(),
                        count.requests);
  }
  return print_out(text);
}

}  // namespace sluice::apps
