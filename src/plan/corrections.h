// SPDX-License-Identifier: Apache-2.0
// What this machine's measurements taught about predictions: for each kind of work a factor on its
// time. Learned slowly, kept in bounds, and remembered beside the machine.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::plan {

enum class Kind { kDecode, kPrefill, kDisk, kDevice };
inline constexpr size_t kKinds = 4;
const char* name_of(Kind kind);  // "cpu decode", ...

struct Correction {
  double factor = 1;  // times the predicted seconds, kLeastFactor .. kMostFactor
  double spread = 0;  // of the logarithm of measured over predicted, after the factor
  int64_t count = 0;  // measurements so far

  static constexpr double kLeastFactor = 0.25;
  static constexpr double kMostFactor = 4;

  // A prediction, with the factor in it, took measured instead of predicted seconds.
  void learn(double predicted, double measured);
  // What a predicted time is to be multiplied and divided by for an interval that holds nine of ten
  // measurements. `usual` is that of a machine of which nothing was learned.
  double interval(double usual) const;
};

struct Corrections {
  std::string identity;  // of the machine
  std::array<Correction, kKinds> kinds;

  const Correction& of(Kind kind) const { return kinds[static_cast<size_t>(kind)]; }
  Correction& of(Kind kind) { return kinds[static_cast<size_t>(kind)]; }
};

// corrections.json in the folder.
std::string remembered_corrections(const std::string& folder);
// kBadFile for what is damaged or of another version.
Result<Corrections> parse_corrections(std::string_view text, const std::string& source);
std::string format_corrections(const Corrections& corrections);

// What is remembered for this machine; none where nothing is, or what is cannot be read.
Corrections read_corrections(const std::string& folder, const std::string& identity);

}  // namespace sluice::plan
