// SPDX-License-Identifier: Apache-2.0
#include "report/report_json.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "storage/cache_folder.h"

namespace sluice::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "sluice-report";
constexpr uint64_t kMostBytes = uint64_t{256} << 20;

// --- writing

Json value_of(double value) {
  if (!known(value) || std::isinf(value)) return nullptr;
  if (value == std::floor(value) && std::abs(value) < 0x1p53) return static_cast<int64_t>(value);
  return value;
}

Json times_of(const std::vector<Phase>& phases) {
  Json all = Json::array();
  for (const Phase& phase : phases)
    all.push_back({{"begin_s", value_of(phase.begin)}, {"name", phase.name}});
  return all;
}

// By columns: a row of names for every sample would be most of the file.
Json columns_of(const Samples& samples) {
  Json all = Json::object();
  for (size_t i = 0; i < kColumns; ++i) {
    const auto column = static_cast<Column>(i);
    if (!known(first_known(samples, column))) continue;
    Json values = Json::array();
    for (const Sample& sample : samples) values.push_back(value_of(sample[column]));
    all[std::string(column_name(column))] = std::move(values);
  }
  return all;
}

Json json_of(const Speeds& s) {
  return {{"prompt_tokens_per_s", value_of(s.prompt)},
          {"prompt_deviation", value_of(s.prompt_deviation)},
          {"prompt_waiting_share", value_of(s.prompt_waiting)},
          {"generation_tokens_per_s", value_of(s.generation)},
          {"generation_deviation", value_of(s.generation_deviation)},
          {"generation_waiting_share", value_of(s.waiting)},
          {"experts_in_memory_share", value_of(s.experts_in_memory)},
          {"read_bytes_per_s", value_of(s.read_rate)},
          {"load_s", value_of(s.load_seconds)},
          {"backend", s.backend}};
}

Json json_of(const Answer& a) {
  return {{"first_token_s", value_of(a.first_token)},
          {"prompt_tokens", a.prompt_tokens},
          {"prompt_tokens_per_s", value_of(a.prompt_rate)},
          {"generated_tokens", a.generated_tokens},
          {"generation_tokens_per_s", value_of(a.generation_rate)},
          {"experts_in_memory_share", value_of(a.experts_in_memory)},
          {"text", a.text}};
}

Json json_of(const Prediction& p) {
  return {{"first_token_s", value_of(p.first_token)},
          {"prompt_tokens", p.prompt_tokens},
          {"prompt_tokens_per_s", value_of(p.prompt)},
          {"generation_tokens_per_s", value_of(p.generation)},
          {"generation_low", value_of(p.generation_low)},
          {"generation_high", value_of(p.generation_high)},
          {"memory_bytes", value_of(p.memory)},
          {"vram_bytes", value_of(p.vram)},
          {"fits", p.fits}};
}

Json json_of(const Peaks& p) {
  return {{"rss_bytes", value_of(p.resident)},
          {"pss_bytes", value_of(p.proportional)},
          {"process_swap_bytes", value_of(p.swap)},
          {"swap_growth_bytes", value_of(p.swap_growth)},
          {"available_least_bytes", value_of(p.available)},
          {"vram_bytes", value_of(p.vram)},
          {"vram_before_bytes", value_of(p.vram_before)},
          {"major_faults", value_of(p.major_faults)},
          {"disk_read_bytes", value_of(p.disk_read)},
          {"disk_bytes_per_s", value_of(p.disk_rate)},
          {"cpu_load_percent", value_of(p.cpu_load)},
          {"gpu_load_percent", value_of(p.gpu_load)},
          {"cpu_temperature_c", value_of(p.cpu_temperature)},
          {"gpu_temperature_c", value_of(p.gpu_temperature)}};
}

Json json_of(const Failure& f) {
  return {{"stage", f.stage},          {"cause", cause_name(f.cause)},
          {"message", f.message},      {"exit_code", f.exit_code},
          {"signal", f.signal},        {"after_s", value_of(f.after)},
          {"last_lines", f.last_lines}};
}

Json json_of(const Recording& r) {
  return {{"stage", r.stage},
          {"began_s", value_of(r.began)},
          {"ended_s", value_of(r.ended)},
          {"peak_rss_bytes", r.peak_resident},
          {"major_faults", r.major_faults},
          {"phases", times_of(r.phases)},
          {"samples", columns_of(r.samples)}};
}

template <typename Item>
Json list_of(const std::vector<Item>& items) {
  Json all = Json::array();
  for (const Item& item : items) all.push_back(json_of(item));
  return all;
}

template <typename Item>
Json or_null(const std::optional<Item>& item) {
  return item ? json_of(*item) : Json(nullptr);
}

Json json_of(const Machine& m) {
  Json gpus = Json::array(), disks = Json::array();
  for (const Gpu& gpu : m.gpus) gpus.push_back({{"name", gpu.name}, {"vram_bytes", gpu.vram}});
  for (const Disk& disk : m.disks)
    disks.push_back({{"name", disk.name}, {"model", disk.model}, {"kind", disk.kind}});
  return {{"cpu", m.cpu},
          {"logical_cpus", m.logical_cpus},
          {"compute_threads", m.compute_threads},
          {"memory_bytes", m.memory},
          {"memory_limit_bytes", m.memory_limit},
          {"memory_limit_source", m.memory_limit_source},
          {"swap_bytes", m.swap},
          {"system", m.system},
          {"kernel", m.kernel},
          {"gpus", gpus},
          {"gpu_driver", m.driver},
          {"no_gpu", m.no_gpu},
          {"disks", disks}};
}

// Objects over several lines, lists of plain values on one.
void write(const Json& value, int depth, std::string& out) {
  const std::string indent(static_cast<size_t>(depth) + 1, ' ');
  const bool flat = !value.is_structured() || value.empty() ||
                    (value.is_array() && !value.front().is_structured());
  if (value.is_number_float()) {
    out += fmt::format("{}", value.get<double>());
  } else if (!value.is_structured() || value.empty()) {
    out += value.dump(-1, ' ', false, Json::error_handler_t::replace);
  } else {
    out += value.is_array() ? '[' : '{';
    bool first = true;
    for (const auto& [name, item] : value.items()) {
      if (!first) out += flat ? ", " : ",";
      first = false;
      if (!flat) (out += '\n') += indent;
      if (value.is_object()) out += Json(name).dump() + ": ";
      write(item, depth + 1, out);
    }
    if (!flat) (out += '\n').append(indent, 1);
    out += value.is_array() ? ']' : '}';
  }
}

// --- reading

// The first thing that is wrong is remembered; what follows reads as nothing.
class Source {
 public:
  Source(const Json& value, std::string path, std::string& wrong)
      : value_(value), path_(std::move(path)), wrong_(wrong) {}

  Source object(const char* field) const { return member(field, &Json::is_object, "an object"); }
  double number(const char* field) const {
    const Json* found = find(field);
    if (!found || found->is_null()) return kUnknown;
    if (found->is_number()) return found->get<double>();
    complain(field, "a number");
    return kUnknown;
  }
  uint64_t count(const char* field) const {
    const double value = number(field);
    if (!known(value)) return 0;
    if (value >= 0 && value < 0x1p63) return static_cast<uint64_t>(value);
    complain(field, "a number from 0");
    return 0;
  }
  int whole(const char* field, int unknown) const {
    const double value = number(field);
    if (!known(value)) return unknown;
    if (std::abs(value) < 0x1p31) return static_cast<int>(value);
    complain(field, "a smaller number");
    return unknown;
  }
  bool boolean(const char* field, bool unknown) const {
    const Json* found = find(field);
    if (!found || found->is_null()) return unknown;
    if (!found->is_boolean()) complain(field, "true or false");
    return found->is_boolean() ? found->get<bool>() : unknown;
  }
  std::string text(const char* field) const {
    const Json* found = find(field);
    if (!found || found->is_null()) return "";
    if (found->is_string()) return found->get<std::string>();
    complain(field, "a text");
    return "";
  }
  std::vector<std::string> texts(const char* field) const {
    std::vector<std::string> all;
    for (const Source& item : list(field)) {
      if (item.value_.is_string())
        all.push_back(item.value_.get<std::string>());
      else
        item.complain("", "a text");
    }
    return all;
  }
  std::vector<Source> list(const char* field) const {
    std::vector<Source> all;
    const Json* found = find(field);
    if (!found || found->is_null()) return all;
    if (!found->is_array()) complain(field, "a list");
    if (found->is_array())
      for (size_t i = 0; i < found->size(); ++i)
        all.emplace_back((*found)[i], fmt::format("{}[{}]", joined(field), i), wrong_);
    return all;
  }
  bool has(const char* field) const {
    const Json* found = find(field);
    return found && !found->is_null();
  }
  const Json& value() const { return value_; }
  void complain(const std::string& field, const char* expected) const {
    if (wrong_.empty()) wrong_ = fmt::format("{}: must be {}", joined(field), expected);
  }

 private:
  static const Json& nothing() {
    static const Json empty = Json::object();
    return empty;
  }
  std::string joined(const std::string& field) const {
    return fmt::format("{}{}{}", path_, path_.empty() || field.empty() ? "" : ".", field);
  }
  const Json* find(const char* field) const {
    if (!value_.is_object()) {
      complain("", "an object");
      return nullptr;
    }
    const auto found = value_.find(field);
    return found == value_.end() ? nullptr : &*found;
  }
  Source member(const char* field, bool (Json::*is)() const noexcept, const char* expected) const {
    const Json* found = find(field);
    if (found && !found->is_null() && (found->*is)()) return {*found, joined(field), wrong_};
    if (found && !found->is_null()) complain(field, expected);
    return {nothing(), joined(field), wrong_};
  }

  const Json& value_;
  std::string path_;
  std::string& wrong_;
};

Machine machine_from(const Source& s) {
  Machine m;
  m.cpu = s.text("cpu");
  m.logical_cpus = s.whole("logical_cpus", 0);
  m.compute_threads = s.whole("compute_threads", 0);
  m.memory = s.count("memory_bytes");
  m.memory_limit = s.count("memory_limit_bytes");
  m.memory_limit_source = s.text("memory_limit_source");
  m.swap = s.count("swap_bytes");
  m.system = s.text("system");
  m.kernel = s.text("kernel");
  for (const Source& gpu : s.list("gpus"))
    m.gpus.push_back({gpu.text("name"), gpu.count("vram_bytes")});
  m.driver = s.text("gpu_driver");
  m.no_gpu = s.text("no_gpu");
  for (const Source& disk : s.list("disks"))
    m.disks.push_back({disk.text("name"), disk.text("model"), disk.text("kind")});
  return m;
}

Speeds speeds_from(const Source& s) {
  Speeds v;
  v.prompt = s.number("prompt_tokens_per_s");
  v.prompt_deviation = s.number("prompt_deviation");
  v.prompt_waiting = s.number("prompt_waiting_share");
  v.generation = s.number("generation_tokens_per_s");
  v.generation_deviation = s.number("generation_deviation");
  v.waiting = s.number("generation_waiting_share");
  v.experts_in_memory = s.number("experts_in_memory_share");
  v.read_rate = s.number("read_bytes_per_s");
  v.load_seconds = s.number("load_s");
  v.backend = s.text("backend");
  return v;
}

Answer answer_from(const Source& s) {
  Answer v;
  v.first_token = s.number("first_token_s");
  v.prompt_tokens = static_cast<int64_t>(s.count("prompt_tokens"));
  v.prompt_rate = s.number("prompt_tokens_per_s");
  v.generated_tokens = static_cast<int64_t>(s.count("generated_tokens"));
  v.generation_rate = s.number("generation_tokens_per_s");
  v.experts_in_memory = s.number("experts_in_memory_share");
  v.text = s.text("text");
  return v;
}

Prediction prediction_from(const Source& s) {
  Prediction v;
  v.first_token = s.number("first_token_s");
  if (s.has("prompt_tokens")) v.prompt_tokens = static_cast<int64_t>(s.count("prompt_tokens"));
  v.prompt = s.number("prompt_tokens_per_s");
  v.generation = s.number("generation_tokens_per_s");
  v.generation_low = s.number("generation_low");
  v.generation_high = s.number("generation_high");
  v.memory = s.number("memory_bytes");
  v.vram = s.number("vram_bytes");
  v.fits = s.boolean("fits", true);
  return v;
}

Samples samples_from(const Source& s) {
  Samples samples;
  for (const auto& [name, values] : s.value().items()) {
    const std::optional<Column> column = find_column(name);
    if (!column) continue;
    const std::vector<Source> items = s.list(name.c_str());
    if (samples.empty()) samples.resize(items.size());
    if (samples.size() != items.size()) s.complain(name, "as long as the other columns");
    for (size_t i = 0; i < std::min(items.size(), samples.size()); ++i) {
      const Json& value = items[i].value();
      if (value.is_number())
        samples[i][*column] = value.get<double>();
      else if (!value.is_null())
        items[i].complain("", "a number or null");
    }
  }
  return samples;
}

Failure failure_from(const Source& s) {
  Failure v;
  v.stage = s.text("stage");
  if (const auto cause = find_cause(s.text("cause")))
    v.cause = *cause;
  else
    s.complain("cause", "one of the causes in docs/report.md");
  v.message = s.text("message");
  v.exit_code = s.whole("exit_code", -1);
  v.signal = s.whole("signal", 0);
  v.after = s.number("after_s");
  v.last_lines = s.texts("last_lines");
  return v;
}

Recording recording_from(const Source& s) {
  Recording v;
  v.stage = s.text("stage");
  v.began = s.number("began_s");
  v.ended = s.number("ended_s");
  v.peak_resident = s.count("peak_rss_bytes");
  v.major_faults = s.count("major_faults");
  for (const Source& phase : s.list("phases"))
    v.phases.push_back({phase.number("begin_s"), phase.text("name")});
  v.samples = samples_from(s.object("samples"));
  return v;
}

Case case_from(const Source& s, const Report& report) {
  Case v;
  v.model = s.count("model");
  v.setting = s.count("setting");
  if (v.model >= report.models.size()) s.complain("model", "an index into models");
  if (v.setting >= report.settings.size()) s.complain("setting", "an index into settings");
  v.began = s.text("began");
  v.command = s.text("command");
  if (s.has("bench")) v.speeds = speeds_from(s.object("bench"));
  if (s.has("answer")) v.answer = answer_from(s.object("answer"));
  if (s.has("predicted")) v.predicted = prediction_from(s.object("predicted"));
  v.plans = s.texts("plans");
  for (const Source& failure : s.list("failures")) v.failures.push_back(failure_from(failure));
  for (const Source& one : s.list("recordings")) v.recordings.push_back(recording_from(one));
  return v;
}

}  // namespace

std::string to_json(const Report& report, const std::vector<std::string>& conclusion) {
  Json models = Json::array(), settings = Json::array(), cases = Json::array();
  for (const Model& model : report.models)
    models.push_back({{"name", model.name},
                      {"path", model.path},
                      {"bytes", model.file_bytes},
                      {"type", model.type},
                      {"parameters", model.parameters}});
  for (const Setting& setting : report.settings) {
    Json flags = Json::object();
    for (const auto& [name, value] : setting.flags) flags[name] = value;
    settings.push_back(
        {{"name", setting.name}, {"flags", flags}, {"memory_limit_bytes", setting.memory_limit}});
  }
  for (const Case& one : report.cases)
    cases.push_back({{"model", one.model},
                     {"setting", one.setting},
                     {"began", one.began},
                     {"command", one.command},
                     {"bench", or_null(one.speeds)},
                     {"answer", or_null(one.answer)},
                     {"predicted", or_null(one.predicted)},
                     {"peaks", json_of(peaks(one))},
                     {"plans", one.plans},
                     {"failures", list_of(one.failures)},
                     {"recordings", list_of(one.recordings)}});
  const Json root = {{"format", kFormat},
                     {"version", kJsonVersion},
                     {"title", report.title},
                     {"time", report.time},
                     {"program", report.program},
                     {"complete", report.complete},
                     {"conclusion", conclusion},
                     {"machine", json_of(report.machine)},
                     {"question", report.question},
                     {"prompt_tokens", report.prompt_tokens},
                     {"generated_tokens", report.generated_tokens},
                     {"answer_tokens", report.answer_tokens},
                     {"repetitions", report.repetitions},
                     {"timeout_s", value_of(report.timeout)},
                     {"models", models},
                     {"settings", settings},
                     {"cases", cases}};
  std::string out;
  write(root, 0, out);
  return out + "\n";
}

Result<Report> report_from_json(const std::string& name, const std::string& text) {
  const Json root = Json::parse(text, nullptr, false);
  if (!root.is_object() || root.value("format", Json()) != kFormat)
    return fail(ErrorKind::kBadFile, "{}: is no report.json of `sluice report`", name);
  if (root.value("version", Json()) != kJsonVersion)
    return fail(ErrorKind::kUnsupported, "{}: version: this program reads version {}", name,
                kJsonVersion);
  std::string wrong;
  const Source s(root, "", wrong);
  Report report;
  report.title = s.text("title");
  report.time = s.text("time");
  report.program = s.text("program");
  report.complete = s.boolean("complete", true);
  report.machine = machine_from(s.object("machine"));
  report.question = s.text("question");
  report.prompt_tokens = static_cast<int64_t>(s.count("prompt_tokens"));
  report.generated_tokens = static_cast<int64_t>(s.count("generated_tokens"));
  report.answer_tokens = static_cast<int64_t>(s.count("answer_tokens"));
  report.repetitions = s.whole("repetitions", 1);
  report.timeout = s.has("timeout_s") ? s.number("timeout_s") : 0;
  for (const Source& model : s.list("models"))
    report.models.push_back({model.text("name"), model.text("path"), model.count("bytes"),
                             model.text("type"), model.count("parameters")});
  for (const Source& one : s.list("settings")) {
    Setting setting;
    setting.name = one.text("name");
    const Source flags = one.object("flags");
    for (const auto& [flag, value] : flags.value().items())
      setting.flags.emplace_back(flag, flags.text(flag.c_str()));
    setting.memory_limit = one.count("memory_limit_bytes");
    report.settings.push_back(std::move(setting));
  }
  for (const Source& one : s.list("cases")) report.cases.push_back(case_from(one, report));
  if (!wrong.empty()) return fail(ErrorKind::kBadFile, "{}: {}", name, wrong);
  return report;
}

Result<Report> read_report(const std::string& path) {
  SLUICE_ASSIGN(const std::string text, storage::read_small_file(path, kMostBytes));
  return report_from_json(path, text);
}

}  // namespace sluice::report
