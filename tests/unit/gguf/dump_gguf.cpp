// SPDX-License-Identifier: Apache-2.0
// dump_gguf MODEL: prints what the reader sees as JSON, for comparison with other readers. Integers
// are decimal strings (JavaScript's numbers end at 2^53). Every byte of a text is one code point of
// the JSON string, so that invalid UTF-8 survives.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "gguf/gguf.h"

namespace {

using nlohmann::json;
namespace gguf = sluice::gguf;

json to_json(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out += c;
    } else {
      out += static_cast<char>(0xc0 | byte >> 6);
      out += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return out;
}
json to_json(uint64_t value) {
  return std::to_string(value);
}
json to_json(int64_t value) {
  return std::to_string(value);
}
json to_json(bool value) {
  return value;
}
json to_json(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return value;
}
json to_json(const gguf::Array& array) {
  json out = json::array();
  std::visit(
      [&](const auto& values) {
        using Element = typename std::decay_t<decltype(values)>::value_type;
        for (const Element& value : values) out.push_back(to_json(value));
      },
      array.elements);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: dump_gguf MODEL\n");
    return 2;
  }
  const auto model = gguf::Gguf::open(argv[1]);
  if (!model) {
    std::fprintf(stderr, "%s\n", model.error().message.c_str());
    return 1;
  }
  json out = {{"version", model->version()},
              {"alignment", to_json(model->alignment())},
              {"files", json::array()},
              {"metadata", json::array()},
              {"tensors", json::array()}};
  for (const auto& file : model->files()) out["files"].push_back(file->name());
  for (const auto& [key, value] : model->metadata()) {
    json entry = {{"key", to_json(key)}, {"type", gguf::value_type_name(value.type)}};
    if (const auto* array = std::get_if<gguf::Array>(&value.data)) {
      entry["element_type"] = gguf::value_type_name(array->element_type);
    }
    entry["value"] = std::visit([](const auto& data) { return to_json(data); }, value.data);
    out["metadata"].push_back(std::move(entry));
  }
  for (const gguf::Tensor& tensor : model->tensors()) {
    json shape = json::array();
    for (int i = 0; i < tensor.dimensions; ++i) {
      shape.push_back(to_json(tensor.shape[static_cast<size_t>(i)]));
    }
    out["tensors"].push_back({{"name", to_json(tensor.name)},
                              {"type", sluice::quant::traits(tensor.type).name},
                              {"shape", shape},
                              {"file", tensor.file},
                              {"offset", to_json(tensor.offset)},
                              {"bytes", to_json(tensor.bytes)}});
  }
  std::printf("%s\n", out.dump().c_str());
  return 0;
}
