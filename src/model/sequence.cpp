// SPDX-License-Identifier: Apache-2.0
#include "model/sequence.h"

#include <algorithm>
#include <atomic>

#include "base/check.h"

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

Result<size_t> fixed_memory(const Sequence::Shape& shape, int64_t capacity) {
  size_t bytes = 0;
  if (__builtin_add_overflow(static_cast<size_t>(shape.conv_floats),
                             static_cast<size_t>(shape.state_floats), &bytes) ||
      __builtin_mul_overflow(bytes, static_cast<size_t>(shape.recurrent_layers), &bytes) ||
      __builtin_add_overflow(bytes, static_cast<size_t>(shape.hidden_floats), &bytes) ||
      __builtin_mul_overflow(bytes, sizeof(float), &bytes))
    return beyond_memory(capacity);
  return bytes;
}

// Of the inputs of recurrent layers, [kMostAhead, input_floats] each.
int64_t ahead_floats(const Sequence::Shape& shape, int64_t layers) {
  return Sequence::kMostAhead * layers * shape.input_floats;
}

uint64_t next_id() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
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
  SLUICE_ASSIGN(const size_t fixed_bytes, fixed_memory(shape, capacity));
  Sequence sequence(backend);
  SLUICE_TRY(sequence.memory_.reserve(bytes));
  SLUICE_TRY(sequence.recurrent_.reserve(fixed_bytes));
  SLUICE_TRY(
      sequence.ahead_.reserve(static_cast<size_t>(ahead_floats(shape, shape.recurrent_layers) +
                                                  kMostAhead * shape.hidden_floats) *
                              sizeof(float)));
  sequence.shape_ = shape;
  sequence.types_ = types;
  sequence.capacity_ = capacity;
  sequence.id_ = next_id();
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

float* Sequence::conv(int64_t layer) const {
  return recurrent_.floats() + layer * (shape_.conv_floats + shape_.state_floats);
}

float* Sequence::state(int64_t layer) const {
  return conv(layer) + shape_.conv_floats;
}

float* Sequence::hidden() const {
  return conv(shape_.recurrent_layers);
}

float* Sequence::ahead_inputs(int64_t layer) const {
  return ahead_.floats() + ahead_floats(shape_, layer);
}

float* Sequence::ahead_hidden() const {
  return ahead_inputs(shape_.recurrent_layers);
}

// What is noted below must not fail: the forward pass is over.
void Sequence::make_room() {
  if (overwritten_from_.size() == overwritten_from_.capacity())
    overwritten_from_.reserve(2 * overwritten_from_.size() + 8);
}

void Sequence::advance(int64_t length) {
  if (length == length_) return;
  if (length_ < intact_) overwritten_from_.push_back(length_);
  length_ = intact_ = length;
}

int64_t Sequence::rewind(int64_t length) {
  SLUICE_CHECK(length >= 0 && length <= length_, "rewind beyond the end");
  if (length < length_) length_ = shape_.recurrent_layers > 0 ? 0 : length;
  return length_;
}

void Sequence::overwrite() {
  if (length_ < intact_) overwritten_from_.push_back(length_);
  intact_ = length_;
}

void Sequence::abandon() {
  overwrite();
  if (shape_.recurrent_layers > 0) length_ = 0;
}

// --- snapshots ---

SnapshotHeader Sequence::header(SnapshotContent content) const {
  SnapshotHeader header;
  header.content = content;
  header.model = shape_.model;
  if (content == SnapshotContent::kRecurrent) {
    header.sequence = id_;
    header.history = overwritten_from_.size();
  }
  header.length = length_;
  header.layers = shape_.layers;
  header.kv_heads = shape_.kv_heads;
  header.head_dim = shape_.head_dim;
  header.recurrent_layers = shape_.recurrent_layers;
  header.conv_floats = shape_.conv_floats;
  header.state_floats = shape_.state_floats;
  header.key_type = static_cast<uint32_t>(types_.key);
  header.value_type = static_cast<uint32_t>(types_.value);
  return header;
}

template <class F>
Status Sequence::each_cache_part(int64_t length, const F& f) const {
  for (const sluice_kv& kv : layers_)
    for (const bool keys : {true, false}) {
      const size_t row = quant::row_bytes(keys ? types_.key : types_.value, kv.head_dim);
      auto* base = static_cast<uint8_t*>(keys ? kv.keys : kv.values);
      for (int32_t head = 0; head < kv.kv_heads; ++head)
        SLUICE_TRY(f(base + static_cast<size_t>(head) * static_cast<size_t>(capacity_) * row,
                     static_cast<size_t>(length) * row));
    }
  return {};
}

Result<Snapshot> Sequence::snapshot(SnapshotContent content) const {
  const compute::Backend& be = *backend_;
  uint64_t bytes = recurrent_.bytes();
  if (content == SnapshotContent::kAll)
    SLUICE_TRY(each_cache_part(length_, [&](void*, size_t part) -> Status {
      bytes += part;
      return {};
    }));
  SLUICE_ASSIGN(Snapshot snapshot, Snapshot::create(header(content), bytes));
  uint8_t* to = snapshot.payload().data();
  const auto save = [&](void* from, size_t part) -> Status {
    if (part > 0) SLUICE_TRY(be.check(be->download(be.get(), to, from, part)));
    to += part;
    return {};
  };
  SLUICE_TRY(be.check(be->synchronize(be.get())));
  SLUICE_TRY(save(recurrent_.data(), recurrent_.bytes()));
  if (content == SnapshotContent::kAll) SLUICE_TRY(each_cache_part(length_, save));
  SLUICE_TRY(be.check(be->synchronize(be.get())));
  return snapshot;
}

Status Sequence::check(const SnapshotHeader& h) const {
  const SnapshotHeader own = header(h.content);
  if (h.model != own.model || h.layers != own.layers || h.kv_heads != own.kv_heads ||
      h.head_dim != own.head_dim || h.recurrent_layers != own.recurrent_layers ||
      h.conv_floats != own.conv_floats || h.state_floats != own.state_floats)
    return fail(ErrorKind::kUsage, "the snapshot is of another model: read the text again");
  if (h.content == SnapshotContent::kAll) {
    if (h.key_type != own.key_type || h.value_type != own.value_type)
      return fail(ErrorKind::kUsage,
                  "the snapshot has other cache types: use the --cache-type-k and --cache-type-v "
                  "it was made with");
    if (h.length < 0 || h.length > capacity_)
      return fail(ErrorKind::kUsage, "the snapshot has {} positions, the context {}: use -c {}",
                  h.length, capacity_, h.length);
    return {};
  }
  const bool intact =
      h.sequence == id_ && h.length >= 0 && h.length <= intact_ &&
      h.history <= overwritten_from_.size() &&
      std::all_of(overwritten_from_.begin() + static_cast<std::ptrdiff_t>(h.history),
                  overwritten_from_.end(), [&](int64_t from) { return from >= h.length; });
  if (!intact)
    return fail(ErrorKind::kUsage,
                "the snapshot's keys and values are not in this sequence any more: read the text "
                "again");
  return {};
}

Status Sequence::restore(const Snapshot& snapshot) {
  const SnapshotHeader& h = snapshot.header();
  SLUICE_TRY(check(h));
  const bool all = h.content == SnapshotContent::kAll;
  uint64_t bytes = recurrent_.bytes();
  if (all)
    SLUICE_TRY(each_cache_part(h.length, [&](void*, size_t part) -> Status {
      bytes += part;
      return {};
    }));
  if (snapshot.payload().size() != bytes)
    return fail(ErrorKind::kBadFile, "the snapshot has {} bytes, {} expected: it is damaged",
                snapshot.payload().size(), bytes);
  const compute::Backend& be = *backend_;
  const uint8_t* from = snapshot.payload().data();
  const auto load = [&](void* to, size_t part) -> Status {
    if (part > 0) SLUICE_TRY(be.check(be->upload(be.get(), to, from, part)));
    from += part;
    return {};
  };
  SLUICE_TRY(load(recurrent_.data(), recurrent_.bytes()));
  if (all) {
    SLUICE_TRY(each_cache_part(h.length, load));
    if (intact_ > 0) overwritten_from_.push_back(0);
    intact_ = h.length;
  }
  SLUICE_TRY(be.check(be->synchronize(be.get())));
  length_ = h.length;
  return {};
}

Result<Snapshot> Sequence::adopt(const Snapshot& snapshot) const {
  const SnapshotHeader own = header(SnapshotContent::kRecurrent);
  SnapshotHeader h = snapshot.header();
  h.sequence = own.sequence;
  h.history = own.history;
  if (h.content != SnapshotContent::kRecurrent)
    return fail(ErrorKind::kUsage, "a snapshot with keys and values is restored as it is");
  SLUICE_TRY(check(h));
  SLUICE_ASSIGN(Snapshot copy, Snapshot::create(h, snapshot.payload().size()));
  std::ranges::copy(snapshot.payload(), copy.payload().begin());
  return copy;
}

Status Sequence::copy(const Sequence& other, int64_t length, const Snapshot* states) {
  const SnapshotHeader theirs = other.header(SnapshotContent::kAll);
  SLUICE_TRY(check(theirs));
  if (states) SLUICE_TRY(other.check(states->header()));
  const int64_t reached = states ? states->length() : other.length();
  if (length > capacity_ || length > other.length() ||
      (shape_.recurrent_layers > 0 && length != reached))
    return fail(ErrorKind::kUsage, "position {} of {} cannot be copied into a context of {}",
                length, other.length(), capacity_);
  const compute::Backend& be = *backend_;
  std::vector<uint8_t> part;
  const auto move = [&](void* to, const void* from, size_t bytes) -> Status {
    if (bytes == 0) return {};
    part.resize(bytes);
    SLUICE_TRY(be.check(be->download(be.get(), part.data(), from, bytes)));
    SLUICE_TRY(be.check(be->synchronize(be.get())));
    SLUICE_TRY(be.check(be->upload(be.get(), to, part.data(), bytes)));
    return be.check(be->synchronize(be.get()));
  };
  if (intact_ > 0) overwritten_from_.push_back(0);
  intact_ = length_ = 0;  // until all of it is here
  for (size_t layer = 0; layer < layers_.size(); ++layer)
    for (const bool keys : {true, false}) {
      const size_t row = quant::row_bytes(keys ? types_.key : types_.value, shape_.head_dim);
      const auto base = [&](const Sequence& s) {
        return static_cast<uint8_t*>(keys ? s.layers_[layer].keys : s.layers_[layer].values);
      };
      for (int64_t head = 0; head < shape_.kv_heads; ++head)
        SLUICE_TRY(move(base(*this) + static_cast<size_t>(head * capacity_) * row,
                        base(other) + static_cast<size_t>(head * other.capacity_) * row,
                        static_cast<size_t>(length) * row));
    }
  if (states)
    SLUICE_TRY(be.check(
        be->upload(be.get(), recurrent_.data(), states->payload().data(), recurrent_.bytes())));
  else
    SLUICE_TRY(move(recurrent_.data(), other.recurrent_.data(), recurrent_.bytes()));
  SLUICE_TRY(be.check(be->synchronize(be.get())));
  intact_ = length_ = length;
  return {};
}

}  // namespace sluice::model
