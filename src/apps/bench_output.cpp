// SPDX-License-Identifier: Apache-2.0
#include "apps/bench_output.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace sluice::apps {
namespace {

enum class Kind { kText, kBool, kInteger, kReal };

struct Field {
  std::string name;
  Kind kind;
  std::string value;
};
using Fields = std::vector<Field>;

std::vector<double> tokens_per_second(const BenchRecord& record) {
  const auto tokens = static_cast<double>(record.what.test.prompt + record.what.test.generate);
  std::vector<double> rates;
  for (const uint64_t ns : record.samples_ns)
    rates.push_back(1e9 * tokens / static_cast<double>(ns));
  return rates;
}

std::string whole(double value) {
  return fmt::format("{:.0f}", std::floor(value));
}

// llama-bench's fields in its order.
Fields common_fields(const BenchMachine& machine, const BenchRecord& r) {
  const std::vector<double> ns(r.samples_ns.begin(), r.samples_ns.end());
  const engine::Statistics time = engine::statistics(ns);
  const engine::Statistics rate = engine::statistics(tokens_per_second(r));
  Fields all;
  const auto add = [&all](const char* name, Kind kind, std::string value) {
    all.push_back({name, kind, std::move(value)});
  };
  const auto parameter = [&](const char* name, Kind kind) { add(name, kind, r.what.value(name)); };
  add("build_commit", Kind::kText, machine.commit);
  add("build_number", Kind::kInteger, std::to_string(machine.number));
  add("cpu_info", Kind::kText, machine.cpu);
  add("gpu_info", Kind::kText, machine.gpu);
  add("backends", Kind::kText, machine.backends);
  parameter("model_filename", Kind::kText);
  add("model_type", Kind::kText, r.model.name);
  add("model_size", Kind::kInteger, std::to_string(r.model.bytes));
  add("model_n_params", Kind::kInteger, std::to_string(r.model.parameters));
  parameter("n_batch", Kind::kInteger);
  parameter("n_ubatch", Kind::kInteger);
  parameter("n_threads", Kind::kInteger);
  parameter("cpu_mask", Kind::kText);
  parameter("cpu_strict", Kind::kBool);
  parameter("poll", Kind::kInteger);
  parameter("type_k", Kind::kText);
  parameter("type_v", Kind::kText);
  parameter("n_gpu_layers", Kind::kInteger);
  parameter("n_cpu_moe", Kind::kInteger);
  parameter("split_mode", Kind::kText);
  parameter("main_gpu", Kind::kInteger);
  parameter("no_kv_offload", Kind::kBool);
  parameter("flash_attn", Kind::kInteger);
  parameter("devices", Kind::kText);
  parameter("tensor_split", Kind::kText);
  parameter("tensor_buft_overrides", Kind::kText);
  parameter("load_mode", Kind::kText);
  parameter("lazy_mode", Kind::kText);
  parameter("embeddings", Kind::kBool);
  parameter("no_op_offload", Kind::kInteger);
  parameter("no_host", Kind::kBool);
  parameter("fit_target", Kind::kInteger);
  parameter("fit_min_ctx", Kind::kInteger);
  add("n_prompt", Kind::kInteger, std::to_string(r.what.test.prompt));
  add("n_gen", Kind::kInteger, std::to_string(r.what.test.generate));
  add("n_depth", Kind::kInteger, std::to_string(r.what.test.depth));
  add("test_time", Kind::kText, r.time);
  add("avg_ns", Kind::kInteger, whole(time.mean));
  add("stddev_ns", Kind::kInteger, whole(time.deviation));
  add("avg_ts", Kind::kReal, fmt::format("{:.6f}", rate.mean));
  add("stddev_ts", Kind::kReal, fmt::format("{:.6f}", rate.deviation));
  return all;
}

// In all samples together. What memory had and what the disk gave are the tiers there are.
Fields expert_fields(const engine::ExpertUse& use) {
  Fields all;
  const auto count = [&all](const char* name, uint64_t value) {
    all.push_back({name, Kind::kInteger, std::to_string(value)});
  };
  const auto rate = [&all](const char* name, double value) {
    all.push_back({name, Kind::kReal, fmt::format("{:.6f}", value)});
  };
  count("experts_ram", use.hits);
  count("experts_ssd", use.requests - use.hits);
  count("experts_bytes_read", use.bytes_read);
  rate("experts_read_gbs", use.read_rate() / 1e9);
  count("experts_stalled_ns", use.stalled_ns);
  rate("experts_stalled_gbs", use.stalled_rate() / 1e9);
  return all;
}

Fields own_fields(const BenchMachine& machine, const BenchRecord& r, bool experts) {
  Fields all;
  all.push_back({"engine", Kind::kText, "sluice " + machine.version});
  all.push_back({"isa", Kind::kText, r.what.value("isa")});
  all.push_back({"backend_description", Kind::kText, r.backend_description});
  all.push_back({"load_ns", Kind::kInteger, std::to_string(r.load_ns)});
  if (!experts) return all;
  for (Field& field : expert_fields(r.experts)) all.push_back(std::move(field));
  return all;
}

Fields all_fields(const BenchMachine& machine, const BenchRecord& record, bool experts) {
  Fields all = common_fields(machine, record);
  for (Field& field : own_fields(machine, record, experts)) all.push_back(std::move(field));
  return all;
}

// The names alone, for headers that come before the first result.
Fields field_names(const BenchMachine& machine, bool experts) {
  BenchRecord none;
  none.what.values.resize(bench_parameters().size());
  return all_fields(machine, none, experts);
}

std::string names(const Fields& fields, const char* between) {
  std::vector<std::string> all;
  for (const Field& field : fields) all.push_back(field.name);
  return fmt::format("{}", fmt::join(all, between));
}

// `quote` around the text, doubled where it stands inside.
std::string quoted(const std::string& text, char quote) {
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote) out += quote;
    out += c;
  }
  return out + quote;
}

class CsvPrinter final : public BenchPrinter {
 public:
  CsvPrinter(BenchMachine machine, bool experts)
      : machine_(std::move(machine)), experts_(experts) {}
  std::string header(const BenchRequest&) override {
    return names(field_names(machine_, experts_), ",") + "\n";
  }
  std::string test(const BenchRecord& record) override {
    std::vector<std::string> values;
    for (const Field& field : all_fields(machine_, record, experts_))
      values.push_back(quoted(field.value, '"'));
    return fmt::format("{}\n", fmt::join(values, ","));
  }

 private:
  BenchMachine machine_;
  bool experts_;
};

std::string json_pair(const Field& field) {
  std::string value = field.value;
  if (field.kind == Kind::kText)
    value = nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  else if (field.kind == Kind::kBool)
    value = value == "0" ? "false" : "true";
  return fmt::format("\"{}\": {}", field.name, value);
}

std::string samples(const BenchRecord& record, const char* between) {
  return fmt::format("\"samples_ns\": [ {} ],{}\"samples_ts\": [ {:.6g} ]",
                     fmt::join(record.samples_ns, ", "), between,
                     fmt::join(tokens_per_second(record), ", "));
}

class JsonPrinter final : public BenchPrinter {
 public:
  JsonPrinter(BenchMachine machine, bool experts)
      : machine_(std::move(machine)), experts_(experts) {}
  std::string header(const BenchRequest&) override { return "[\n"; }
  std::string test(const BenchRecord& record) override {
    std::string text = first_ ? "  {\n" : ",\n  {\n";
    first_ = false;
    for (const Field& field : common_fields(machine_, record))
      text += fmt::format("    {},\n", json_pair(field));
    text += "    " + samples(record, "\n    ");
    for (const Field& field : own_fields(machine_, record, experts_))
      text += fmt::format(",\n    {}", json_pair(field));
    return text + "\n  }";
  }
  std::string footer() override { return "\n]\n"; }

 private:
  BenchMachine machine_;
  bool experts_;
  bool first_ = true;
};

class JsonlPrinter final : public BenchPrinter {
 public:
  JsonlPrinter(BenchMachine machine, bool experts)
      : machine_(std::move(machine)), experts_(experts) {}
  std::string test(const BenchRecord& record) override {
    std::string text = "{";
    for (const Field& field : common_fields(machine_, record)) text += json_pair(field) + ", ";
    text += samples(record, "");
    for (const Field& field : own_fields(machine_, record, experts_))
      text += ", " + json_pair(field);
    return text + "}\n";
  }

 private:
  BenchMachine machine_;
  bool experts_;
};

class SqlPrinter final : public BenchPrinter {
 public:
  SqlPrinter(BenchMachine machine, bool experts)
      : machine_(std::move(machine)), experts_(experts) {}
  std::string header(const BenchRequest&) override {
    const Fields fields = field_names(machine_, experts_);
    std::string text = "CREATE TABLE IF NOT EXISTS llama_bench (\n";
    for (size_t i = 0; i < fields.size(); ++i)
      text += fmt::format("  {} {}{}\n", fields[i].name, type(fields[i].kind),
                          i + 1 < fields.size() ? "," : "");
    return text + ");\n\n";
  }
  std::string test(const BenchRecord& record) override {
    const Fields fields = all_fields(machine_, record, experts_);
    std::vector<std::string> values;
    for (const Field& field : fields) values.push_back(quoted(field.value, '\''));
    return fmt::format("INSERT INTO llama_bench ({}) VALUES ({});\n", names(fields, ", "),
                       fmt::join(values, ", "));
  }

 private:
  static const char* type(Kind kind) {
    return kind == Kind::kText ? "TEXT" : kind == Kind::kReal ? "REAL" : "INTEGER";
  }
  BenchMachine machine_;
  bool experts_;
};

// Width of a column of the table; negative: aligned to the left.
struct Column {
  std::string field;
  std::string title;
  int width;
};

// What is shown when it was asked for, in llama-bench's order. The backend here is the CPU: the
// threads are always shown, the GPU's layers never.
std::vector<Column> optional_columns() {
  std::vector<Column> all;
  all.push_back({"n_cpu_moe", "n_cpu_moe", 10});
  all.push_back({"n_threads", "threads", 7});
  all.push_back({"cpu_mask", "cpu_mask", -10});
  all.push_back({"cpu_strict", "cpu_strict", 10});
  all.push_back({"poll", "poll", 10});
  all.push_back({"n_batch", "n_batch", 7});
  all.push_back({"n_ubatch", "n_ubatch", 8});
  all.push_back({"type_k", "type_k", 6});
  all.push_back({"type_v", "type_v", 6});
  all.push_back({"main_gpu", "main_gpu", 10});
  all.push_back({"split_mode", "sm", 6});
  all.push_back({"no_kv_offload", "nkvo", 13});
  all.push_back({"flash_attn", "fa", 3});
  all.push_back({"devices", "dev", -12});
  all.push_back({"tensor_split", "ts", -12});
  all.push_back({"tensor_buft_overrides", "ot", -21});
  all.push_back({"load_mode", "lm", 10});
  all.push_back({"lazy_mode", "lazy_mode", -10});
  all.push_back({"embeddings", "embd", 10});
  all.push_back({"no_op_offload", "nopo", 4});
  all.push_back({"no_host", "noh", 4});
  all.push_back({"fit_target", "fitt", 10});
  all.push_back({"fit_min_ctx", "fitc", 11});
  return all;
}

std::string cell(const Column& column, const std::string& text) {
  return column.width < 0 ? fmt::format(" {:<{}} |", text, -column.width)
                          : fmt::format(" {:>{}} |", text, column.width);
}

std::string test_name(const engine::BenchTest& test) {
  std::string name;
  if (test.generate == 0)
    name = fmt::format("pp{}", test.prompt);
  else if (test.prompt == 0)
    name = fmt::format("tg{}", test.generate);
  else
    name = fmt::format("pp{}+tg{}", test.prompt, test.generate);
  return test.depth > 0 ? fmt::format("{} @ d{}", name, test.depth) : name;
}

class MarkdownPrinter final : public BenchPrinter {
 public:
  MarkdownPrinter(BenchMachine machine, bool experts)
      : machine_(std::move(machine)), experts_(experts) {}

  std::string header(const BenchRequest& request) override {
    columns_.push_back({"model", "model", -30});
    columns_.push_back({"size", "size", 10});
    columns_.push_back({"params", "params", 10});
    columns_.push_back({"backend", "backend", -10});
    for (Column& column : optional_columns())
      if (column.field == "n_threads" || request.shown(column.field))
        columns_.push_back(std::move(column));
    columns_.push_back({"test", "test", 15});
    columns_.push_back({"t/s", "t/s", 20});
    if (request.shown("isa")) columns_.push_back({"isa", "isa", -10});
    if (experts_)
      for (const char* title : {"in RAM", "read", "disk", "waited"})
        columns_.push_back({title, title, 10});

    std::string text = "|", line = "|";
    for (const Column& column : columns_) {
      text += cell(column, column.title);
      const auto width = static_cast<size_t>(std::abs(column.width));
      line += fmt::format(" {}{} |", std::string(width - 1, '-'), column.width > 0 ? ":" : "-");
    }
    return text + "\n" + line + "\n";
  }

  std::string test(const BenchRecord& record) override {
    std::string text = "|";
    for (const Column& column : columns_) text += cell(column, value(column.field, record));
    return text + "\n";
  }

  std::string footer() override {
    return fmt::format("\nbuild: {} ({})\n", machine_.commit, machine_.number);
  }

 private:
  std::string value(const std::string& field, const BenchRecord& record) const {
    const auto bytes = static_cast<double>(record.model.bytes);
    const auto parameters = static_cast<double>(record.model.parameters);
    if (field == "model") return record.model.name;
    if (field == "size")
      return bytes < 0x1p30 ? fmt::format("{:.2f} MiB", bytes / 0x1p20)
                            : fmt::format("{:.2f} GiB", bytes / 0x1p30);
    if (field == "params")
      return parameters < 1e9 ? fmt::format("{:.2f} M", parameters / 1e6)
                              : fmt::format("{:.2f} B", parameters / 1e9);
    if (field == "backend") return machine_.backends;
    if (field == "test") return test_name(record.what.test);
    if (field == "t/s") {
      const engine::Statistics rate = engine::statistics(tokens_per_second(record));
      return fmt::format("{:.2f} ± {:.2f}", rate.mean, rate.deviation);
    }
    const engine::ExpertUse& use = record.experts;
    if (field == "in RAM")
      return fmt::format("{:.1f} %", 100.0 * static_cast<double>(use.hits) /
                                         static_cast<double>(std::max<uint64_t>(1, use.requests)));
    if (field == "read")
      return fmt::format("{:.2f} GiB", static_cast<double>(use.bytes_read) / 0x1p30);
    if (field == "disk") return fmt::format("{:.2f} GB/s", use.read_rate() / 1e9);
    if (field == "waited")
      return fmt::format("{:.2f} s", static_cast<double>(use.stalled_ns) / 1e9);
    return record.what.value(field);
  }

  BenchMachine machine_;
  bool experts_;
  std::vector<Column> columns_;
};

}  // namespace

std::unique_ptr<BenchPrinter> make_bench_printer(BenchFormat format, const BenchMachine& machine,
                                                 bool experts) {
  switch (format) {
    case BenchFormat::kNone:
      return nullptr;
    case BenchFormat::kCsv:
      return std::make_unique<CsvPrinter>(machine, experts);
    case BenchFormat::kJson:
      return std::make_unique<JsonPrinter>(machine, experts);
    case BenchFormat::kJsonl:
      return std::make_unique<JsonlPrinter>(machine, experts);
    case BenchFormat::kMarkdown:
      return std::make_unique<MarkdownPrinter>(machine, experts);
    case BenchFormat::kSql:
      return std::make_unique<SqlPrinter>(machine, experts);
  }
  return nullptr;
}

}  // namespace sluice::apps
