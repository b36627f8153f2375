// SPDX-License-Identifier: Apache-2.0
#include "plan/corrections.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "storage/cache_folder.h"

namespace sluice::plan {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;
constexpr uint64_t kStoreLimit = 64 << 10;
constexpr double kDamping = 0.25;  // of one measurement, once there are some
constexpr double kMostStep = 0.7;  // of the logarithm: one odd run changes little
constexpr double kNineOfTen = 1.645;
constexpr double kLeastInterval = 1.08;

}  // namespace

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kDecode:
      return "cpu decode";
    case Kind::kPrefill:
      return "cpu prefill";
    case Kind::kDisk:
      return "disk";
    case Kind::kDevice:
      return "gpu";
  }
  return "";
}

void Correction::learn(double predicted, double measured) {
  if (!(predicted > 0 && measured > 0 && std::isfinite(predicted) && std::isfinite(measured)))
    return;
  const double error = std::clamp(std::log(measured / predicted), -kMostStep, kMostStep);
  // The first few count as a mean.
  const double share = std::max(kDamping, 1.0 / static_cast<double>(count + 2));
  factor = std::clamp(factor * std::exp(share * error), kLeastFactor, kMostFactor);
  spread = std::sqrt(std::lerp(spread * spread, error * error, share));
  count = std::min<int64_t>(count + 1, 1 << 20);
}

double Correction::interval(double usual) const {
  if (count < 4) return usual;
  return std::max(kLeastInterval, std::exp(kNineOfTen * spread));
}

std::string remembered_corrections(const std::string& folder) {
  return folder.empty() ? "" : folder + "/corrections.json";
}

Result<Corrections> parse_corrections(std::string_view text, const std::string& source) {
  const auto bad = [&](const std::string& what) {
    return fail(ErrorKind::kBadFile, "{}: {}: delete it, it is learned anew", source, what);
  };
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return bad("this is no JSON object");
  if (!json.contains("version") || json["version"] != kVersion)
    return bad(fmt::format("version must be {}", kVersion));
  if (!json.contains("identity") || !json["identity"].is_string())
    return bad("identity is missing");
  if (!json.contains("kinds") || !json["kinds"].is_object()) return bad("kinds is missing");
  Corrections corrections;
  corrections.identity = json["identity"].get<std::string>();
  for (size_t k = 0; k < kKinds; ++k) {
    const char* name = name_of(static_cast<Kind>(k));
    const auto entry = json["kinds"].find(name);
    if (entry == json["kinds"].end()) continue;
    const auto number = [&](const char* field, double least, double most) {
      const auto value = entry->is_object() ? entry->find(field) : entry->end();
      if (!entry->is_object() || value == entry->end() || !value->is_number()) return -1.0;
      const auto found = value->get<double>();
      return found >= least && found <= most ? found : -1.0;
    };
    Correction& correction = corrections.kinds[k];
    correction.factor = number("factor", Correction::kLeastFactor, Correction::kMostFactor);
    correction.spread = number("spread", 0, 10);
    const double count = number("count", 0, 1e9);
    if (correction.factor < 0 || correction.spread < 0 || count < 0)
      return bad(fmt::format("kinds.{}: factor, spread or count is missing or out of range", name));
    correction.count = static_cast<int64_t>(count);
  }
  return corrections;
}

std::string format_corrections(const Corrections& corrections) {
  Json kinds = Json::object();
  for (size_t k = 0; k < kKinds; ++k) {
    const Correction& correction = corrections.kinds[k];
    kinds[name_of(static_cast<Kind>(k))] = {
        {"factor", correction.factor}, {"spread", correction.spread}, {"count", correction.count}};
  }
  const Json json = {
      {"version", kVersion}, {"identity", corrections.identity}, {"kinds", std::move(kinds)}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Corrections read_corrections(const std::string& folder, const std::string& identity) {
  Corrections none;
  none.identity = identity;
  const std::string path = remembered_corrections(folder);
  if (path.empty()) return none;
  const auto text = storage::read_small_file(path, kStoreLimit);
  if (!text) return none;
  auto corrections = parse_corrections(*text, path);
  if (!corrections || corrections->identity != identity) return none;
  return std::move(*corrections);
}

}  // namespace sluice::plan
