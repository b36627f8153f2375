// SPDX-License-Identifier: Apache-2.0
#include "model/sequence.h"

namespace sluice::model {
namespace {

tl::unexpected<Error> beyond_memory(int64_t capacity) {
  return fail(ErrorKind::kTooLarge,
              "a cache of {} positions is beyond any memory: use a smaller -c", capacity);
}

Result<size_t> cache_bytes(const compute::Backend& backend, const Sequence::Shape& shape,
                           int64_t capacity, quant::Type type, const char* flag) {
  const quant::Traits& format = quant::traits(type);
  if (!backend->supports_cache(backend.get(), static_cast<uint32_t>(type)))
    return fail(
        ErrorKind::kUsage,
        "{} {}: not a cache type: use f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl", flag,
        format.name);
  if (shape.head_dim % format.block_elements)
    return fail(ErrorKind::kUsage,
                "{} {}: blocks of {} do not fit this model's heads of {}: use f16", flag,
                format.name, format.block_elements, shape.head_dim);
  size_t bytes = quant::row_bytes(type, shape.head_dim);
  for (const int64_t factor : {shape.kv_heads, capacity, shape.layers})
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(factor), &bytes))
      return beyond_memory(capacity);
  return bytes;
}

}  // namespace

Result<Sequence> Sequence::create(const compute::Backend& backend, const Shape& shape,
                                  int64_t capacity, const CacheTypes& types) {
  SLUICE_ASSIGN(const size_t key_bytes,
                cache_bytes(backend, shape, capacity, types.key, "--cache-type-k"));
  SLUICE_ASSIGN(const size_t value_bytes,
                cache_bytes(backend, shape, capacity, types.value, "--cache-type-v"));
  size_t bytes = 0;
  if (__builtin_add_overflow(key_bytes, value_bytes, &bytes)) return beyond_memory(capacity);
  Sequence sequence(backend);
  SLUICE_TRY(sequence.memory_.reserve(bytes));
  sequence.capacity_ = capacity;
  auto* memory = static_cast<uint8_t*>(sequence.memory_.data());
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    sluice_kv kv{};
    kv.keys = memory + static_cast<size_t>(layer) * (key_bytes / static_cast<size_t>(shape.layers));
    kv.values = memory + key_bytes +
                static_cast<size_t>(layer) * (value_bytes / static_cast<size_t>(shape.layers));
    kv.key_type = static_cast<uint32_t>(types.key);
    kv.value_type = static_cast<uint32_t>(types.value);
    kv.capacity = capacity;
    kv.kv_heads = static_cast<int32_t>(shape.kv_heads);
    kv.head_dim = static_cast<int32_t>(shape.head_dim);
    sequence.layers_.push_back(kv);
  }
  return sequence;
}

}  // namespace sluice::model
