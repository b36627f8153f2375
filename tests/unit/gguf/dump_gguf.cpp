// SPDX-License-Identifier: Apache-2.0
// dump_gguf MODEL: prints what the reader sees as JSON, for comparison with other readers. Integers
// are decimal strings (JavaScript's numbers end at 2^53). Every byte of a text is one code point of
// the JSON string, so that invalid UTF-8 survives.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "gguf/gguf.h"
#include "gguf/writer.h"

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

json to_json(const gguf::Gguf& model) {
  json out = {{"version", model.version()},
              {"alignment", to_json(model.alignment())},
              {"files", json::array()},
              {"metadata", json::array()},
              {"tensors", json::array()}};
  for (const auto& file : model.files()) out["files"].push_back(file->name());
  for (const auto& [key, value] : model.metadata()) {
    json entry = {{"key", to_json(key)}, {"type", gguf::value_type_name(value.type)}};
    if (const auto* array = std::get_if<gguf::Array>(&value.data)) {
      entry["element_type"] = gguf::value_type_name(array->element_type);
    }
    entry["value"] = std::visit([](const auto& data) { return to_json(data); }, value.data);
    out["metadata"].push_back(std::move(entry));
  }
  for (const gguf::Tensor& tensor : model.tensors()) {
    json shape = json::array();
    for (int i = 0; i < tensor.dimensions; ++i) {
      shape.push_back(to_json(tensor.shape[static_cast<size_t>(i)]));
    }
    out["tensors"].push_back({{"name", to_json(tensor.name)},
                              {"type", sluice::quant::traits(tensor.type).name},
                              {"type_id", static_cast<uint32_t>(tensor.type)},
                              {"shape", shape},
                              {"file", tensor.file},
                              {"offset", to_json(tensor.offset)},
                              {"bytes", to_json(tensor.bytes)}});
  }
  return out;
}

sluice::Status copy(const gguf::Gguf& model, const std::string& path) {
  gguf::Writer writer;
  for (const auto& [key, value] : model.metadata()) writer.set(key, value);
  for (const gguf::Tensor& tensor : model.tensors()) {
    writer.add_tensor(tensor.name, tensor.type,
                      {tensor.shape.begin(), tensor.shape.begin() + tensor.dimensions});
  }
  SLUICE_TRY(writer.begin(path));
  for (const gguf::Tensor& tensor : model.tensors()) {
    std::vector<uint8_t> data(tensor.bytes);
    SLUICE_TRY(model.read(tensor, data));
    SLUICE_TRY(writer.write(data));
  }
  return writer.finish();
}

int complain(const sluice::Error& error) {
  std::fprintf(stderr, "%s\n", error.message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool copies = argc == 4 && std::string_view(argv[1]) == "--copy";
  if (argc != 2 && !copies) {
    std::fprintf(stderr, "usage: dump_gguf MODEL | dump_gguf --copy MODEL OUT\n");
    return 2;
  }
  const auto model = gguf::Gguf::open(argv[copies ? 2 : 1]);
  if (!model) return complain(model.error());
  if (copies) {
    const sluice::Status status = copy(*model, argv[3]);
    return status ? 0 : complain(status.error());
  }
  std::printf("%s\n", to_json(*model).dump().c_str());
  return 0;
}
