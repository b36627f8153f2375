// SPDX-License-Identifier: Apache-2.0
#include "engine/description.h"

#include <map>

namespace sluice::engine {
namespace {

// general.file_type
const char* file_type_name(uint64_t id) {
  static const std::map<uint64_t, const char*> names = {{0, "all F32"},
                                                        {1, "F16"},
                                                        {2, "Q4_0"},
                                                        {3, "Q4_1"},
                                                        {7, "Q8_0"},
                                                        {8, "Q5_0"},
                                                        {9, "Q5_1"},
                                                        {10, "Q2_K - Medium"},
                                                        {11, "Q3_K - Small"},
                                                        {12, "Q3_K - Medium"},
                                                        {13, "Q3_K - Large"},
                                                        {14, "Q4_K - Small"},
                                                        {15, "Q4_K - Medium"},
                                                        {16, "Q5_K - Small"},
                                                        {17, "Q5_K - Medium"},
                                                        {18, "Q6_K"},
                                                        {19, "IQ2_XXS - 2.0625 bpw"},
                                                        {20, "IQ2_XS - 2.3125 bpw"},
                                                        {21, "Q2_K - Small"},
                                                        {22, "IQ3_XS - 3.3 bpw"},
                                                        {23, "IQ3_XXS - 3.0625 bpw"},
                                                        {25, "IQ4_NL - 4.5 bpw"},
                                                        {26, "IQ3_S - 3.4375 bpw"},
                                                        {27, "IQ3_S mix - 3.66 bpw"},
                                                        {28, "IQ2_S - 2.5 bpw"},
                                                        {29, "IQ2_M - 2.7 bpw"},
                                                        {30, "IQ4_XS - 4.25 bpw"},
                                                        {32, "BF16"},
                                                        {38, "MXFP4 MoE"}};
  const auto found = names.find(id);
  return found == names.end() ? "unknown, may not work" : found->second;
}

// The file type that stands for most tensors being of `type`.
uint64_t usual_file_type(quant::Type type) {
  switch (type) {
    case quant::Type::kF16:
      return 1;
    case quant::Type::kQ4_0:
      return 2;
    case quant::Type::kQ4_1:
      return 3;
    case quant::Type::kQ8_0:
      return 7;
    case quant::Type::kQ5_0:
      return 8;
    case quant::Type::kQ5_1:
      return 9;
    case quant::Type::kQ2_K:
      return 10;
    case quant::Type::kQ3_K:
      return 12;
    case quant::Type::kQ4_K:
      return 15;
    case quant::Type::kQ5_K:
      return 17;
    case quant::Type::kQ6_K:
      return 18;
    case quant::Type::kIQ2_XXS:
      return 19;
    case quant::Type::kIQ2_XS:
      return 20;
    case quant::Type::kIQ3_XXS:
      return 23;
    case quant::Type::kIQ4_NL:
      return 25;
    case quant::Type::kIQ3_S:
      return 26;
    case quant::Type::kIQ2_S:
      return 28;
    case quant::Type::kIQ4_XS:
      return 30;
    case quant::Type::kBF16:
      return 32;
    default:
      return 0;
  }
}

// The published sizes of the architectures that run here, by layers and width.
const char* size_name(const std::string& architecture, uint64_t layers, uint64_t width) {
  if (architecture == "qwen3moe") {
    if (layers == 48) return "30B.A3B";
    if (layers == 94) return "235B.A22B";
  } else if (architecture == "qwen3next") {
    if (layers == 48) return "80B.A3B";
  } else if (architecture == "qwen3") {
    if (layers == 28) return width == 1024 ? "0.6B" : "1.7B";
    if (layers == 36) return width == 2560 ? "4B" : "8B";
    if (layers == 40) return "14B";
    if (layers == 64) return "32B";
  }
  return "?B";
}

}  // namespace

ModelDescription describe(const gguf::Gguf& file) {
  ModelDescription result;
  std::map<quant::Type, int64_t> counts;
  for (const gguf::Tensor& tensor : file.tensors()) {
    result.bytes += tensor.bytes;
    result.parameters += static_cast<uint64_t>(tensor.elements());
    ++counts[tensor.type];
  }
  const std::string architecture = file.string_or("general.architecture", "").value_or("");
  const uint64_t layers = file.uint_or(architecture + ".block_count", 0).value_or(0);
  const uint64_t width = file.uint_or(architecture + ".embedding_length", 0).value_or(0);
  result.name = architecture + " " + size_name(architecture, layers, width) + " ";
  const Result<uint64_t> type = file.require_uint("general.file_type");
  if (type) {
    result.name += file_type_name(*type);
    return result;
  }
  auto most = std::pair<quant::Type, int64_t>(quant::Type::kF32, 0);
  for (const auto& entry : counts)
    if (entry.second > most.second) most = entry;
  result.name += std::string("(guessed) ") + file_type_name(usual_file_type(most.first));
  return result;
}

}  // namespace sluice::engine
