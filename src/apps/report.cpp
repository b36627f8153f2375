// SPDX-License-Identifier: Apache-2.0
// sluice report: the study over models and settings, and the page about it.
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "apps/build_info.h"
#include "apps/commands.h"
#include "apps/options.h"
#include "base/log.h"
#include "report/compose.h"
#include "report/machine.h"
#include "report/report_json.h"
#include "report/study.h"
#include "report/study_file.h"
#include "storage/cache_folder.h"

namespace sluice::apps {
namespace {

constexpr double kTimeout = 3600;
constexpr const char* kQuestion = "请写一个 300 字的关于未来人工智能的短文。";

struct ReportFlags {
  report::Report study;
  std::string study_file, output, from;
  std::vector<std::string> compare;
  report::Language language = report::Language::english();
  bool predict = true;
  int verbosity = 2;
  // Of each flag of settings, what was given: all combinations run.
  std::vector<std::vector<std::string>> lists;
  std::vector<uint64_t> memory_limits;
};

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text)
    if (c == ',')
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

Flag text_flag(const char* name, std::vector<std::string> aliases, const char* value,
               const char* help, std::function<void(const std::string&)> set) {
  return {name,
          std::move(aliases),
          "",
          value,
          help,
          [set = std::move(set)](const std::string& text) -> Status {
            if (text.empty()) return fail(ErrorKind::kUsage, "must not be empty");
            set(text);
            return {};
          }};
}

template <typename T>
Flag number_flag(const char* name, std::vector<std::string> aliases, const char* value,
                 const char* help, T& field, int64_t least, int64_t most) {
  return {name,
          std::move(aliases),
          "",
          value,
          help,
          [&field, least, most](const std::string& text) -> Status {
            SLUICE_ASSIGN(const int64_t number, parse_integer(text, least, most));
            field = static_cast<T>(number);
            return {};
          }};
}

std::vector<Flag> report_flags(ReportFlags& o) {
  report::Report& s = o.study;
  std::vector<Flag> flags = {
      {"--model",
       {"-m"},
       "",
       "FILE",
       "GGUF files; a list, or several times",
       [&s](const std::string& text) -> Status {
         for (std::string& path : split_list(text)) {
           if (path.empty()) return fail(ErrorKind::kUsage, "an entry of the list is empty");
           s.models.emplace_back().path = std::move(path);
         }
         return {};
       }},
      text_flag("--study", {}, "FILE", "models and settings from a JSON file (docs/report.md)",
                [&o](const std::string& t) { o.study_file = t; }),
      text_flag("--output", {"-o"}, "FOLDER", "where the report goes (report-TIME)",
                [&o](const std::string& t) { o.output = t; }),
      text_flag("--compare", {}, "FILE", "report.json of an earlier report; may be repeated",
                [&o](const std::string& t) { o.compare.push_back(t); }),
      text_flag("--from", {}, "FILE", "measure nothing: write the report of this report.json again",
                [&o](const std::string& t) { o.from = t; }),
      {"--lang",
       {},
       "",
       "en|zh",
       "language of the report (en)",
       [&o](const std::string& text) -> Status {
         if (text != "en" && text != "zh") return fail(ErrorKind::kUsage, "must be en or zh");
         o.language = text == "zh" ? report::Language::chinese() : report::Language::english();
         return {};
       }},
      text_flag("--title", {}, "TEXT", "heading of the report",
                [&s](const std::string& t) { s.title = t; }),
      text_flag("--question", {}, "TEXT", "the standard question",
                [&s](const std::string& t) { s.question = t; }),
      number_flag("--answer", {}, "N", "most tokens of its answer (512)", s.answer_tokens, 1,
                  1000000),
      number_flag("--n-prompt", {"-p"}, "N", "tokens that the benchmark reads (512)",
                  s.prompt_tokens, 0, 1000000),
      number_flag("--n-gen", {"-n"}, "N", "tokens that it generates (128)", s.generated_tokens, 0,
                  1000000),
      number_flag("--repetitions", {"-r"}, "N", "of the benchmark (3)", s.repetitions, 1, 1000),
      number_flag("--timeout", {}, "SECONDS", "most time of one process; 0: no limit (3600)",
                  s.timeout, 0, 10000000),
      {"--plan",
       {},
       "",
       "",
       "compare with what `sluice plan` predicts (on)",
       [&o](const std::string& text) -> Status {
         o.predict = text == "true";
         return {};
       }},
      {"--memory",
       {},
       "",
       "SIZE",
       "run each case in a control group with this limit; a list",
       [&o](const std::string& text) -> Status {
         for (const std::string& part : split_list(text)) {
           SLUICE_ASSIGN(const uint64_t bytes, report::parse_bytes(part));
           o.memory_limits.push_back(bytes);
         }
         return {};
       }},
      number_flag("--log-verbosity", {"-lv"}, "N", "0 silent, 1 errors, 2 warnings, 3 info (2)",
                  o.verbosity, 0, 4),
  };
  const std::vector<report::SettingFlag>& settings = report::setting_flags();
  o.lists.resize(settings.size());
  for (size_t i = 0; i < settings.size(); ++i) {
    Flag flag{fmt::format("--{}", settings[i].name),
              {},
              "",
              "LIST",
              "settings to compare, as of `run`; all combinations are measured",
              [&list = o.lists[i]](const std::string& text) -> Status {
                for (std::string& value : split_list(text)) {
                  if (value.empty())
                    return fail(ErrorKind::kUsage, "an entry of the list is empty");
                  list.push_back(std::move(value));
                }
                return {};
              }};
    if (settings[i].run != flag.name) flag.aliases.push_back(settings[i].run);
    flags.push_back(std::move(flag));
  }
  return flags;
}

Result<bool> parse(ReportFlags& o, const Arguments& arguments) {
  return parse_flags("report",
                     "Measures models in settings, each in a process of its own, and writes a "
                     "report: HTML, Markdown, JSON.",
                     report_flags(o), arguments);
}

// All combinations, the last flag changing fastest.
std::vector<report::Setting> combinations(const ReportFlags& o) {
  std::vector<report::Setting> all(1);
  const std::vector<report::SettingFlag>& flags = report::setting_flags();
  for (size_t i = 0; i < flags.size(); ++i) {
    if (o.lists[i].empty()) continue;
    std::vector<report::Setting> next;
    for (const report::Setting& setting : all)
      for (const std::string& value : o.lists[i]) {
        next.push_back(setting);
        next.back().flags.emplace_back(flags[i].name, value);
      }
    all = std::move(next);
  }
  if (o.memory_limits.empty()) return all;
  std::vector<report::Setting> next;
  for (const report::Setting& setting : all)
    for (const uint64_t limit : o.memory_limits) {
      next.push_back(setting);
      next.back().memory_limit = limit;
    }
  return next;
}

std::string time_text(const char* format) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[64];
  return {text, std::strftime(text, sizeof(text), format, &parts)};
}

Result<std::string> own_path() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0) return fail(ErrorKind::kIo, "/proc/self/exe: cannot be read: mount /proc");
  return std::string(path, static_cast<size_t>(length));
}

// A folder stands for the report in it.
std::string json_path(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error) ? path + "/report.json" : path;
}

// Readable by others, as the user's mask allows: a report is there to be shown.
Status write_file(const std::string& path, const std::string& text) {
  SLUICE_TRY(storage::replace_small_file(path, text));
  const mode_t mask = umask(0);
  umask(mask);
  if (chmod(path.c_str(), 0666 & ~mask) != 0)
    return fail(ErrorKind::kIo, "{}: cannot change who may read it", path);
  return {};
}

Status write_report(const std::string& folder, const report::Report& report,
                    const std::vector<report::Earlier>& earlier, report::Language language) {
  const report::Document document = report::compose(report, earlier, language);
  SLUICE_TRY(write_file(folder + "/report.json",
                        report::to_json(report, report::conclude(report, earlier, language))));
  SLUICE_TRY(write_file(folder + "/report.html", report::to_html(document)));
  for (const auto& [name, text] : report::plot_files(document))
    SLUICE_TRY(write_file(folder + "/plots/" + name, text));
  return write_file(folder + "/report.md", report::to_markdown(document, "plots"));
}

Result<std::vector<report::Earlier>> read_earlier(const std::vector<std::string>& paths) {
  std::vector<report::Earlier> all;
  for (const std::string& path : paths) {
    SLUICE_ASSIGN(report::Report earlier, report::read_report(json_path(path)));
    all.push_back({path, std::move(earlier)});
  }
  return all;
}

Status tell_where(const std::string& folder, const report::Report& report,
                  const std::vector<report::Earlier>& earlier, report::Language language) {
  std::string text;
  for (const std::string& sentence : report::conclude(report, earlier, language))
    text += sentence + "\n";
  return print_out(text + folder + "/report.html\n");
}

Status measure(ReportFlags& o, const std::vector<report::Earlier>& earlier) {
  report::Report& report = o.study;
  if (o.output.empty()) o.output = time_text("report-%Y%m%d-%H%M%S");
  const BuildInfo build = build_info();
  report.time = time_text("%FT%TZ");
  report.program = fmt::format("sluice {} ({})", SLUICE_VERSION, build.commit);
  std::vector<std::string> files;
  for (const report::Model& model : report.models) files.push_back(model.path);
  const Result<report::Nvml> nvml = report::Nvml::load();
  report.machine =
      report::describe_machine(nvml ? &*nvml : nullptr, nvml ? "" : nvml.error().message, files);

  report::StudyOptions options;
  SLUICE_ASSIGN(options.program, own_path());
  options.probe.nvml = nvml ? &*nvml : nullptr;
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) options.visible_gpus = visible;
  options.interrupted = &interrupted;
  options.predict = o.predict;
  options.tell = [](const std::string& text) {
    std::fprintf(stderr, "sluice report: %s\n", text.c_str());
  };
  options.keep = [&](const report::Report& so_far) {
    return write_report(o.output, so_far, earlier, o.language);
  };
  // Whether the folder can be written is known before hours of measuring, not after.
  report.complete = false;
  SLUICE_TRY(options.keep(report));
  catch_interrupts();
  SLUICE_TRY(report::run_study(options, report));
  SLUICE_TRY(options.keep(report));
  SLUICE_TRY(tell_where(o.output, report, earlier, o.language));
  if (interrupted)
    return fail(ErrorKind::kCancelled, "stopped; what was measured until then is in {}/report.html",
                o.output);
  for (const report::Case& one : report.cases)
    if (one.speeds || one.answer) return {};
  return fail(ErrorKind::kUnsupported, "no case ran; why is in the failure log of {}/report.html",
              o.output);
}

}  // namespace

Status report_command(const Arguments& arguments) {
  // Flags have the last word over a study's file: read once for its name, and again over it.
  std::string study_file;
  {
    ReportFlags first;
    SLUICE_ASSIGN(const bool go, parse(first, arguments));
    if (!go) return {};
    study_file = first.study_file;
  }
  ReportFlags o;
  o.study.question = kQuestion;
  o.study.timeout = kTimeout;
  if (!study_file.empty()) SLUICE_TRY(report::read_study(study_file, o.study));
  SLUICE_TRY(parse(o, arguments));
  init_logging(o.verbosity);
  SLUICE_ASSIGN(const std::vector<report::Earlier> earlier, read_earlier(o.compare));
  if (!o.from.empty()) {
    if (!o.study.models.empty())
      return fail(ErrorKind::kUsage, "--from: measures nothing, so give no models");
    SLUICE_ASSIGN(report::Report again, report::read_report(json_path(o.from)));
    if (!o.study.title.empty()) again.title = o.study.title;
    const std::string folder =
        !o.output.empty() ? o.output
                          : std::filesystem::path(json_path(o.from)).parent_path().string();
    SLUICE_TRY(write_report(folder.empty() ? "." : folder, again, earlier, o.language));
    return tell_where(folder.empty() ? "." : folder, again, earlier, o.language);
  }
  std::vector<report::Setting> settings = combinations(o);
  const bool any =
      settings.size() > 1 || !settings[0].flags.empty() || settings[0].memory_limit > 0;
  if (any && !o.study.settings.empty())
    return fail(ErrorKind::kUsage,
                "{} has settings: give them there or as flags, not in both places", o.study_file);
  if (any || o.study.settings.empty()) o.study.settings = std::move(settings);
  SLUICE_TRY(report::complete_study(o.study));
  return measure(o, earlier);
}

}  // namespace sluice::apps
