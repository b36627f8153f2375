// SPDX-License-Identifier: Apache-2.0
#include "gguf/quantize.h"

#include <algorithm>
#include <atomic>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/thread_pool.h"
#include "gguf/writer.h"

namespace sluice::gguf {
namespace {

using quant::Type;

constexpr Mix kMixes[] = {
    {"F32", 0, Type::kF32},      {"F16", 1, Type::kF16},          {"Q4_0", 2, Type::kQ4_0},
    {"Q4_1", 3, Type::kQ4_1},    {"Q8_0", 7, Type::kQ8_0},        {"Q5_0", 8, Type::kQ5_0},
    {"Q5_1", 9, Type::kQ5_1},    {"Q2_K", 10, Type::kQ2_K},       {"Q3_K_S", 11, Type::kQ3_K},
    {"Q3_K_M", 12, Type::kQ3_K}, {"Q3_K_L", 13, Type::kQ3_K},     {"Q4_K_S", 14, Type::kQ4_K},
    {"Q4_K_M", 15, Type::kQ4_K}, {"Q5_K_S", 16, Type::kQ5_K},     {"Q5_K_M", 17, Type::kQ5_K},
    {"Q6_K", 18, Type::kQ6_K},   {"IQ4_NL", 25, Type::kIQ4_NL},   {"IQ4_XS", 30, Type::kIQ4_XS},
    {"BF16", 32, Type::kBF16},   {"MXFP4_MOE", 38, Type::kMXFP4},
};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::toupper(x) == std::toupper(y);
  });
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

// The N of "blk.N.", or -1.
int64_t layer_of(std::string_view name) {
  int64_t layer = -1;
  if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return layer;
}

Type wanted_type(const Mix& mix, const MixContext& context, std::string_view name,
                 size_t dimensions) {
  const bool k_quant = mix.name.find("_K") != mix.name.npos;
  const bool head = name == "output.weight" || (name == "token_embd.weight" && !context.has_output);
  const bool down = contains(name, "ffn_down");
  const bool value = contains(name, "attn_v.") || contains(name, "attn_qkv.");
  const int64_t layer = layer_of(name);
  const int64_t n = context.layers;
  if (mix.name == "MXFP4_MOE") return dimensions == 3 ? Type::kMXFP4 : Type::kQ8_0;
  if (head && (k_quant || mix.name.starts_with("IQ4"))) return Type::kQ6_K;
  if (mix.name.starts_with("IQ4")) {
    if (value || (down && layer < n / 8)) return Type::kQ5_K;
    return mix.base;
  }
  if (mix.name == "Q2_K") {
    if (value) return Type::kQ4_K;
    if (down || contains(name, "attn_output")) return Type::kQ3_K;
  } else if (mix.name == "Q3_K_M") {
    if (value) return layer < 2 ? Type::kQ5_K : Type::kQ4_K;
    if (contains(name, "attn_output")) return Type::kQ4_K;
    if (down) return layer < n / 16 ? Type::kQ5_K : Type::kQ4_K;
  } else if (mix.name == "Q3_K_L") {
    if (value || down || contains(name, "attn_output")) return Type::kQ5_K;
  } else if (mix.name == "Q4_K_S") {
    if ((value && layer < 4) || (down && layer < n / 8)) return Type::kQ5_K;
  } else if (mix.name == "Q4_K_M" || mix.name == "Q5_K_M") {
    if ((value || down) && more_bits(layer, n)) return Type::kQ6_K;
  }
  return mix.base;
}

// For rows that are not a whole number of blocks.
Type fallback(Type type) {
  switch (type) {
    case Type::kQ2_K:
    case Type::kQ3_K:
      return Type::kQ4_0;
    case Type::kQ4_K:
      return Type::kQ5_0;
    case Type::kQ5_K:
      return Type::kQ5_1;
    case Type::kQ6_K:
      return Type::kQ8_0;
    case Type::kIQ4_XS:
      return Type::kIQ4_NL;
    default:
      return Type::kF16;
  }
}

}  // namespace

const Mix* find_mix(std::string_view name) {
  for (const Mix& mix : kMixes)
    if (equal_ignoring_case(mix.name, name) && quant::traits(mix.base).encode) return &mix;
  return nullptr;
}

std::string mix_names() {
  std::string names;
  for (const Mix& mix : kMixes) {
    if (!quant::traits(mix.base).encode) continue;
    if (!names.empty()) names += ' ';
    names += mix.name;
  }
  return names;
}

bool more_bits(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

Type mix_type(const Mix& mix, const MixContext& context, std::string_view name,
              std::span<const int64_t> shape, Type source) {
  const size_t dimensions = static_cast<size_t>(
      std::count_if(shape.begin(), shape.end(), [](int64_t n) { return n > 1; }));
  const bool keep = dimensions < 2 || !name.ends_with("weight") || contains(name, "_norm.weight") ||
                    contains(name, "ffn_gate_inp.weight") || contains(name, "ssm_conv1d");
  if (keep) return source;
  Type type = wanted_type(mix, context, name, dimensions);
  while (shape[0] % quant::traits(type).block_elements) type = fallback(type);
  return type;
}

Status quantize_file(const Gguf& file, const std::string& path, const Mix& mix, int threads,
                     const std::function<void(const Tensor&, Type, size_t)>& progress) {
  SLUICE_ASSIGN(const std::string architecture, file.require_string("general.architecture"));
  SLUICE_ASSIGN(const uint64_t layers, file.require_uint(architecture + ".block_count"));
  const MixContext context{static_cast<int64_t>(layers),
                           file.find_tensor("output.weight") != nullptr};

  Writer writer;
  for (const auto& [key, value] : file.metadata())
    if (!key.starts_with("split.")) writer.set(key, value);
  writer.set_u32("general.file_type", mix.file_type);
  if (!quant::traits(mix.base).is_float) writer.set_u32("general.quantization_version", 2);
  std::vector<Type> types;
  for (const Tensor& tensor : file.tensors()) {
    const auto dimensions = static_cast<size_t>(tensor.dimensions);
    types.push_back(
        mix_type(mix, context, tensor.name, {tensor.shape.data(), dimensions}, tensor.type));
    writer.add_tensor(tensor.name, types.back(),
                      {tensor.shape.begin(), tensor.shape.begin() + tensor.dimensions});
  }
  SLUICE_TRY(writer.begin(path));

  ThreadPool pool(threads);
  std::vector<uint8_t> from, to;
  for (size_t i = 0; i < types.size(); ++i) {
    const Tensor& tensor = file.tensors()[i];
    if (progress) progress(tensor, types[i], i);
    const int64_t cols = tensor.shape[0];
    const int64_t rows = tensor.elements() / cols;
    const size_t from_row = quant::row_bytes(tensor.type, cols);
    const size_t to_row = quant::row_bytes(types[i], cols);
    const auto piece_rows =
        static_cast<int64_t>(std::max<size_t>((size_t{64} << 20) / from_row, 1));
    for (int64_t first = 0; first < rows; first += piece_rows) {
      const int64_t count = std::min(piece_rows, rows - first);
      from.resize(static_cast<size_t>(count) * from_row);
      to.resize(static_cast<size_t>(count) * to_row);
      SLUICE_TRY(file.files()[static_cast<size_t>(tensor.file)]->read_at(
          tensor.offset + static_cast<uint64_t>(first) * from_row, from));
      if (types[i] == tensor.type) {
        SLUICE_TRY(writer.write(from));
        continue;
      }
      std::atomic<bool> finite{true};
      pool.for_ranges(count, 1, [&](int, int64_t begin, int64_t end) {
        std::vector<float> values(static_cast<size_t>(cols));
        for (int64_t r = begin; r < end; ++r) {
          const auto row = static_cast<size_t>(r);
          quant::traits(tensor.type).decode(from.data() + row * from_row, cols, values.data());
          if (std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
            quant::traits(types[i]).encode(values.data(), cols, to.data() + row * to_row);
          else
            finite.store(false, std::memory_order_relaxed);
        }
      });
      if (!finite.load())
        return fail(ErrorKind::kBadFile,
                    "{}: tensor {} holds values that are infinite or no numbers: the model is "
                    "damaged, or was converted to a type too narrow for it",
                    file.files()[static_cast<size_t>(tensor.file)]->name(), tensor.name);
      SLUICE_TRY(writer.write(to));
    }
  }
  return writer.finish();
}

}  // namespace sluice::gguf
