// SPDX-License-Identifier: Apache-2.0
// A machine as JSON: what is remembered between runs, and what people write by hand.
#include <cmath>
#include <nlohmann/json.hpp>

#include "machine/machine.h"
#include "quant/quant.h"

namespace sluice::machine {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr double kMostRate = 1e18;   // per second
constexpr double kMostTime = 1e4;    // seconds
constexpr double kMostBytes = 1e15;  // of any memory
constexpr size_t kMostEntries = 64;

// Reads one object; the first thing that is wrong ends it.
class Fields {
 public:
  Fields(const Json& object, std::string where, Status& status)
      : object_(object), where_(std::move(where)), status_(status) {
    if (!object.is_object()) wrong("", "must be an object");
  }

  const Json* find(const char* name, bool required) {
    if (!status_ || !object_.is_object()) return nullptr;
    const auto found = object_.find(name);
    if (found != object_.end()) return &*found;
    if (required) wrong(name, "is missing");
    return nullptr;
  }
  double number(const char* name, double least, double most, bool required = true) {
    const Json* value = find(name, required);
    if (!value) return 0;
    if (!value->is_number()) return wrong(name, "must be a number"), 0;
    const double number = value->get<double>();
    if (!(std::isfinite(number) && number >= least && number <= most))
      return wrong(name, fmt::format("must be between {:g} and {:g}", least, most)), 0;
    return number;
  }
  double rate(const char* name, bool required = true) {
    return number(name, 1e-3, kMostRate, required);
  }
  uint64_t bytes(const char* name, bool required = true) {
    return static_cast<uint64_t>(number(name, 0, kMostBytes, required));
  }
  std::string text(const char* name, bool required = true) {
    const Json* value = find(name, required);
    if (!value) return "";
    if (!value->is_string()) return wrong(name, "must be a text"), "";
    return value->get<std::string>();
  }
  // Calls each(fields) for the entries of a list of objects.
  template <typename Each>
  void list(const char* name, size_t least, const Each& each, bool required = true) {
    const Json* value = find(name, required);
    if (!value) return;
    if (!value->is_array() || value->size() < least || value->size() > kMostEntries)
      return wrong(name, fmt::format("must be a list of {} to {} entries", least, kMostEntries));
    for (size_t i = 0; i < value->size() && status_; ++i) {
      Fields entry((*value)[i], fmt::format("{}{}[{}].", where_, name, i), status_);
      if (status_) each(entry);
    }
  }
  template <typename Each>
  void object(const char* name, const Each& each, bool required = true) {
    const Json* value = find(name, required);
    if (!value || value->is_null()) return;
    Fields entry(*value, where_ + name + ".", status_);
    if (status_) each(entry);
  }
  void wrong(std::string_view name, const std::string& what) {
    if (!status_) return;
    std::string field = where_ + std::string(name);
    if (field.ends_with('.')) field.pop_back();
    status_ = fail(ErrorKind::kBadFile, "{} {}", field.empty() ? "the file" : field, what);
  }
  const Json& json() const { return object_; }
  const std::string& where() const { return where_; }
  bool good() const { return status_.has_value(); }

 private:
  const Json& object_;
  std::string where_;
  Status& status_;
};

std::vector<RowsRate> read_rates(Fields& fields, const char* name) {
  std::vector<RowsRate> rates;
  fields.list(name, 1, [&](Fields& entry) {
    const RowsRate rate{static_cast<int64_t>(entry.number("rows", 1, 1e6)),
                        entry.rate("multiply_adds_per_second")};
    if (rates.empty() ? rate.rows != 1 : rate.rows <= rates.back().rows)
      entry.wrong("rows", "must begin with 1 and rise");
    rates.push_back(rate);
  });
  return rates;
}

ComputeRates read_compute(Fields& fields) {
  ComputeRates rates;
  rates.name = fields.text("name", false);
  rates.operation_seconds = fields.number("operation_seconds", 0, 1);
  rates.answer_seconds = fields.number("answer_seconds", 0, 1, false);
  rates.norm_floats = fields.rate("norm_floats_per_second");
  rates.attention_row = fields.rate("attention_row_elements_per_second");
  rates.attention_batch = fields.rate("attention_batch_multiply_adds_per_second");
  rates.delta_row = fields.rate("delta_row_elements_per_second");
  rates.delta_batch = fields.rate("delta_batch_elements_per_second");
  fields.object("types", [&](Fields& types) {
    if (!types.json().contains("Q4_K")) types.wrong("Q4_K", "is missing");
    for (const auto& [name, value] : types.json().items()) {
      if (!types.good()) return;
      if (!quant::find_traits(name)) {
        types.wrong(name, "is no weight type: see `sluice quantize`");
        return;
      }
      types.object(name.c_str(), [&](Fields& type) {
        ProductRates product;
        product.near = type.rate("near_multiply_adds_per_second");
        product.dense = read_rates(type, "dense");
        product.experts = read_rates(type, "experts");
        rates.types.emplace(name, std::move(product));
      });
    }
  });
  return rates;
}

DiskTimes read_disk(Fields& fields) {
  DiskTimes disk;
  disk.what = fields.text("what", false);
  disk.bytes = static_cast<uint32_t>(fields.number("read_bytes", 4096, 1 << 26));
  const Json* direct = fields.find("direct", false);
  disk.direct = direct && direct->is_boolean() && direct->get<bool>();
  fields.list("times", 1, [&](Fields& entry) {
    const ReadsTime time{static_cast<int>(entry.number("reads", 1, 4096)),
                         entry.number("seconds", 1e-9, kMostTime)};
    if (!disk.times.empty() &&
        (time.reads <= disk.times.back().reads || time.seconds < disk.times.back().seconds))
      entry.wrong("reads", "must rise, and seconds with it");
    disk.times.push_back(time);
  });
  return disk;
}

Json rates_json(const std::vector<RowsRate>& rates) {
  Json list = Json::array();
  for (const RowsRate& rate : rates)
    list.push_back({{"rows", rate.rows}, {"multiply_adds_per_second", rate.per_second}});
  return list;
}

Json compute_json(const ComputeRates& rates) {
  Json types = Json::object();
  for (const auto& [name, product] : rates.types)
    types[name] = {{"near_multiply_adds_per_second", product.near},
                   {"dense", rates_json(product.dense)},
                   {"experts", rates_json(product.experts)}};
  return {{"name", rates.name},
          {"operation_seconds", rates.operation_seconds},
          {"answer_seconds", rates.answer_seconds},
          {"norm_floats_per_second", rates.norm_floats},
          {"attention_row_elements_per_second", rates.attention_row},
          {"attention_batch_multiply_adds_per_second", rates.attention_batch},
          {"delta_row_elements_per_second", rates.delta_row},
          {"delta_batch_elements_per_second", rates.delta_batch},
          {"types", std::move(types)}};
}

}  // namespace

Result<Machine> parse_machine(std::string_view text, const std::string& source) {
  const auto bad = [&](const std::string& what) {
    return fail(ErrorKind::kBadFile,
                "{}: {}: measure it again with --remeasure, or compare it with "
                "machines/rtx3060-laptop.json",
                source, what);
  };
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return bad("this is no JSON");
  Status status;
  Fields fields(json, "", status);
  Machine machine;
  if (fields.number("version", 0, 1e9) != kVersion)
    fields.wrong("version", fmt::format("must be {}", kVersion));
  machine.identity = fields.text("identity", false);
  machine.note = fields.text("note", false);
  machine.memory_bytes = fields.bytes("memory_bytes");
  machine.available_bytes = fields.bytes("available_bytes");
  fields.object("processor", [&](Fields& entry) {
    Processor& p = machine.processor;
    p.name = entry.text("name");
    p.isa = entry.text("isa", false);
    p.threads = static_cast<int>(entry.number("threads", 1, 4096));
    p.last_level_cache = entry.bytes("last_level_cache_bytes", false);
    entry.list("memory_read", 1, [&](Fields& rate) {
      p.memory_read.push_back(
          {static_cast<int>(rate.number("threads", 1, 4096)), rate.rate("bytes_per_second")});
      if (p.memory_read.size() > 1 &&
          p.memory_read.back().threads <= p.memory_read[p.memory_read.size() - 2].threads)
        rate.wrong("threads", "must rise");
    });
    entry.object("rates", [&](Fields& rates) { p.rates = read_compute(rates); });
  });
  fields.list(
      "disks", 0, [&](Fields& disk) { machine.disks.push_back(read_disk(disk)); }, false);
  fields.object(
      "accelerator",
      [&](Fields& entry) {
        Accelerator gpu;
        gpu.name = entry.text("name");
        gpu.memory_bytes = entry.bytes("memory_bytes");
        gpu.free_bytes = entry.bytes("free_bytes");
        gpu.to_device = entry.rate("to_device_bytes_per_second");
        entry.object("rates", [&](Fields& rates) { gpu.rates = read_compute(rates); });
        machine.accelerator = std::move(gpu);
      },
      false);
  machine.accelerator_reason = fields.text("accelerator_reason", false);
  if (!status) return bad(status.error().message);
  return machine;
}

std::string format_machine(const Machine& m) {
  Json read = Json::array();
  for (const ThreadsRate& rate : m.processor.memory_read)
    read.push_back({{"threads", rate.threads}, {"bytes_per_second", rate.bytes_per_second}});
  Json disks = Json::array();
  for (const DiskTimes& disk : m.disks) {
    Json times = Json::array();
    for (const ReadsTime& time : disk.times)
      times.push_back({{"reads", time.reads}, {"seconds", time.seconds}});
    disks.push_back({{"what", disk.what},
                     {"read_bytes", disk.bytes},
                     {"direct", disk.direct},
                     {"times", std::move(times)}});
  }
  Json json = {{"version", kVersion},
               {"identity", m.identity},
               {"note", m.note},
               {"memory_bytes", m.memory_bytes},
               {"available_bytes", m.available_bytes},
               {"processor",
                {{"name", m.processor.name},
                 {"isa", m.processor.isa},
                 {"threads", m.processor.threads},
                 {"last_level_cache_bytes", m.processor.last_level_cache},
                 {"memory_read", std::move(read)},
                 {"rates", compute_json(m.processor.rates)}}},
               {"disks", std::move(disks)}};
  if (const auto& gpu = m.accelerator)
    json["accelerator"] = {{"name", gpu->name},
                           {"memory_bytes", gpu->memory_bytes},
                           {"free_bytes", gpu->free_bytes},
                           {"to_device_bytes_per_second", gpu->to_device},
                           {"rates", compute_json(gpu->rates)}};
  else
    json["accelerator_reason"] = m.accelerator_reason;
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace sluice::machine
