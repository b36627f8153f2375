// SPDX-License-Identifier: Apache-2.0
// sluice doctor: whether this machine is set up for the program.
#include "machine/doctor.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/options.h"
#include "storage/cache_folder.h"

namespace sluice::apps {
namespace {

using machine::Finding;
using machine::Severity;

const char* word_of(Severity severity) {
  switch (severity) {
    case Severity::kGood:
      return "ok";
    case Severity::kNote:
      return "note";
    case Severity::kFatal:
      return "FATAL";
  }
  return "";
}

std::string text_of(const std::vector<Finding>& findings) {
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.subject.size());
  std::string out;
  for (const Finding& finding : findings)
    out += fmt::format("{:<5}  {:<{}}  {}{}\n", word_of(finding.severity), finding.subject, width,
                       finding.text, finding.remedy.empty() ? "" : ": " + finding.remedy);
  return out;
}

std::string json_of(const std::vector<Finding>& findings) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Finding& finding : findings)
    list.push_back({{"severity", word_of(finding.severity)},
                    {"subject", finding.subject},
                    {"text", finding.text},
                    {"remedy", finding.remedy}});
  return list.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

Status doctor_command(const Arguments& arguments) {
  bool json = false;
  std::vector<std::string> positional;
  const std::vector<Flag> flags = {
      {"--json", {}, "", "", "for programs", [&json](const std::string& text) -> Status {
         json = text == "true";
         return {};
       }}};
  SLUICE_ASSIGN(const bool go,
                parse_flags("doctor",
                            "Looks at what this machine gives to the program, and says what to do "
                            "where it is not enough. FOLDER: where the models are (.).",
                            flags, arguments, &positional));
  if (!go) return {};
  if (positional.size() > 1) return fail(ErrorKind::kUsage, "give one folder at most");
  const std::string folder = positional.empty() ? "." : positional[0];
  SLUICE_ASSIGN(const machine::Probes probes,
                machine::probe_this_machine(folder, storage::cache_folder()));
  const std::vector<Finding> findings = machine::examine(probes);
  SLUICE_TRY(print_out(json ? json_of(findings) : text_of(findings)));
  if (machine::any_fatal(findings))
    return fail(ErrorKind::kUnsupported,
                "models cannot be run like this: see the lines with FATAL");
  return {};
}

}  // namespace sluice::apps
