// SPDX-License-Identifier: Apache-2.0
// What a model remembers of one sequence: the key-value cache of every attention layer, which can
// be cut back to any position, and the state of every recurrent layer, which cannot.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "compute/backend.h"
#include "model/snapshot.h"
#include "quant/quant.h"

namespace sluice::model {

struct CacheTypes {
  quant::Type key = quant::Type::kF16;
  quant::Type value = quant::Type::kF16;
};

class Sequence {
 public:
  static constexpr int64_t kMostAhead = 8;  // tokens of a tentative chunk

  struct Shape {
    int64_t layers = 0;  // with a key-value cache
    int64_t kv_heads = 0;
    int64_t head_dim = 0;
    int64_t recurrent_layers = 0;
    int64_t conv_floats = 0;   // of one recurrent layer, see sluice_recurrent_span
    int64_t state_floats = 0;  // likewise
    // Where tokens are guessed (Model::draft); else 0.
    int64_t hidden_floats = 0;  // what the model knows at a token
    int64_t input_floats = 0;   // of a recurrent layer at a token: what its memory changes by
    uint64_t model = 0;         // which weights made it: snapshots of others are refused
  };

  // kUsage when a type cannot be used with this head size, kTooLarge when memory is out.
  static Result<Sequence> create(const compute::Backend& backend, const Shape& shape,
                                 int64_t capacity, const CacheTypes& types);

  int64_t capacity() const { return capacity_; }
  int64_t length() const { return length_; }  // positions that are remembered
  // Of the `layer`-th layer with a cache, and of the `layer`-th recurrent one.
  const sluice_kv& kv(int64_t layer) const { return layers_[static_cast<size_t>(layer)]; }
  float* conv(int64_t layer) const;
  float* state(int64_t layer) const;

  // The final norm's output at the last position, [hidden_floats].
  float* hidden() const;
  // Of the tokens of a tentative chunk: the same, and the inputs of a recurrent layer, each
  // [kMostAhead, ...].
  float* ahead_hidden() const;
  float* ahead_inputs(int64_t layer) const;

  // Bytes reserved for `capacity` positions; those of the cache cost nothing until touched.
  uint64_t bytes() const { return memory_.bytes() + recurrent_.bytes() + ahead_.bytes(); }
  // Bytes of what belongs to the last position, which does not grow with the positions.
  uint64_t recurrent_bytes() const { return recurrent_.bytes(); }

  // Positions [length(), length) have been computed.
  void advance(int64_t length);
  // Positions from length() on were used for something that is not part of the sequence.
  void overwrite();
  // Forgets positions from `length` on and returns the length reached: with recurrent layers only
  // the present length and 0 can be. The rest must be read again, or comes from a snapshot.
  int64_t rewind(int64_t length);
  // Before a forward pass: what advance(), overwrite() and abandon() note will need no memory.
  void make_room();
  // A forward pass ended halfway: what it may have changed is forgotten. Keys and values were only
  // appended; recurrent states are lost, and the length becomes 0.
  void abandon();

  // A copy of the memory at length(). kRecurrent leaves out the keys and values: they stay here,
  // and the snapshot can come back as long as its positions have not been computed anew. kAll can
  // be restored into any sequence of the same model and cache types. kTooLarge when memory is out.
  Result<Snapshot> snapshot(SnapshotContent content) const;
  // Back to the snapshot. kUsage, with nothing changed, when it is of another model, of other cache
  // types, too long, or its keys and values are gone.
  Status restore(const Snapshot& snapshot);
  // A copy for this sequence of a kRecurrent snapshot that another one, which this one has since
  // become by restore(), could go back to. kUsage when it is of another model or behind length().
  Result<Snapshot> adopt(const Snapshot& snapshot) const;
  // Becomes the first `length` positions of `other`, a sequence of the same model and cache types.
  // With recurrent layers that is its length, or `states` a snapshot of it from there that it could
  // go back to. kUsage, with nothing changed, where it cannot be.
  Status copy(const Sequence& other, int64_t length, const Snapshot* states = nullptr);

 private:
  explicit Sequence(const compute::Backend& backend)
      : backend_(&backend), memory_(backend), recurrent_(backend), ahead_(backend) {}
  Status check(const SnapshotHeader& header) const;
  SnapshotHeader header(SnapshotContent content) const;
  // Calls f(device address, bytes) for the stored part of every head's keys and values.
  template <class F>
  Status each_cache_part(int64_t length, const F& f) const;

  const compute::Backend* backend_;
  Shape shape_;
  CacheTypes types_;
  compute::DeviceArray memory_;
  compute::DeviceArray recurrent_;  // states of all recurrent layers, then hidden()
  compute::DeviceArray ahead_;      // inputs of all recurrent layers, then ahead_hidden()
  std::vector<sluice_kv> layers_;
  int64_t capacity_ = 0;
  int64_t length_ = 0;
  // For snapshots without keys and values: who holds them, how many positions are intact, and
  // where positions were computed anew, in the order of events.
  uint64_t id_ = 0;
  int64_t intact_ = 0;
  std::vector<int64_t> overwritten_from_;
};

}  // namespace sluice::model
