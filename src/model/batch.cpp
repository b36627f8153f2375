// SPDX-License-Identifier: Apache-2.0
#include "model/batch.h"

#include <algorithm>
#include <numeric>

namespace sluice::model {

void Batch::assign(std::span<const Chunk> chunks, const Rope& rope) {
  tokens.clear();
  spans.clear();
  recurrent.clear();
  sequences.clear();
  tentative.clear();
  wanted.clear();
  wanted_spans.clear();
  for (const Chunk& chunk : chunks) {
    sluice_span span{};
    span.first_row = rows();
    span.rows = static_cast<int64_t>(chunk.tokens.size());
    span.position = chunk.sequence->length();
    spans.push_back(span);
    recurrent.push_back(
        {nullptr, nullptr, span.first_row, span.rows, span.position, chunk.tentative});
    sequences.push_back(chunk.sequence);
    chunk.sequence->make_room();
    tentative.push_back(chunk.tentative);
    tokens.insert(tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
    const int64_t first = chunk.all_logits ? 0 : std::max<int64_t>(span.rows - 1, 0);
    wanted_spans.push_back({{}, wanted_rows(), span.rows - first, span.position + first});
    for (int64_t r = first; r < span.rows; ++r)
      wanted.push_back(static_cast<int32_t>(span.first_row + r));
  }
  set_angles(rope);
}

void Batch::set_angles(const Rope& rope) {
  const size_t half = static_cast<size_t>(rope.dims() / 2);
  cos.resize(tokens.size() * half);
  sin.resize(tokens.size() * half);
  for (const sluice_span& span : spans)
    for (int64_t r = 0; r < span.rows; ++r) {
      const size_t at = static_cast<size_t>(span.first_row + r) * half;
      rope.angles(span.position + r, cos.data() + at, sin.data() + at);
    }
}

void Batch::select_cache(int64_t layer) {
  for (size_t i = 0; i < spans.size(); ++i) spans[i].kv = sequences[i]->kv(layer);
  for (size_t i = 0; i < wanted_spans.size(); ++i) wanted_spans[i].kv = sequences[i]->kv(layer);
}

void Batch::select_recurrent(int64_t layer) {
  recurrent_layer = layer;
  for (size_t i = 0; i < recurrent.size(); ++i) {
    recurrent[i].conv = sequences[i]->conv(layer);
    recurrent[i].state = sequences[i]->state(layer);
  }
}

std::vector<int32_t> consecutive(int64_t first, int64_t count) {
  std::vector<int32_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), static_cast<int32_t>(first));
  return rows;
}

void Batch::commit() const {
  for (size_t i = 0; i < spans.size(); ++i)
    if (tentative[i])
      sequences[i]->overwrite();
    else
      sequences[i]->advance(spans[i].position + spans[i].rows);
}

void Batch::abandon() const {
  for (Sequence* sequence : sequences) sequence->abandon();
}

}  // namespace sluice::model
