// SPDX-License-Identifier: Apache-2.0
#include "synth/synth.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <future>
#include <optional>
#include <system_error>

#include "base/thread_pool.h"
#include "synth/random_blocks.h"
#include "synth/routing.h"
#include "synth/rows.h"
#include "synth/vocabulary.h"

namespace sluice::synth {
namespace {

using quant::Type;

constexpr size_t kPieceBytes = size_t{32} << 20;  // written at once
constexpr size_t kUnitBytes = size_t{1} << 20;    // made by one thread from one random sequence

// E[(silu(g) u)^2]^(1/2) for independent normal g and u.
constexpr float kGatedDeviation = 0.6f;
// (sum of squared expert weights)^(1/2) for a softmax over the chosen ones.
constexpr float kMixDeviation = 0.45f;

float inverse_root(int64_t n) {
  return 1.0f / std::sqrt(static_cast<float>(n));
}

// Standard deviations that keep every activation near 1: the embedding has 1, and all that the
// layers add to the residual stream has 1 together, whatever their number.
float deviation_of(const TensorPlan& tensor, const Shape& s) {
  const float in = inverse_root(tensor.shape[0]);
  const float write = inverse_root(2 * s.layers);
  switch (tensor.role) {
    case Role::kEmbedding:
      return 1.0f;
    case Role::kOutput:
      return 2.0f * in;  // logits of deviation 2: varied text at the usual temperatures
    case Role::kAttentionOutput:
      return write * in * (s.gated_attention() ? 2.0f : 1.0f);
    case Role::kExpertOut:
      return write * in / (kGatedDeviation * kMixDeviation);
    case Role::kSharedOut:
      return write * in / kGatedDeviation;
    case Role::kLinearOut:
      return write * in / kGatedDeviation;
    case Role::kLinearConvolution:
      return 0.5f;
    default:
      return in;
  }
}

// Vectors of other distributions than weights; false for the rest.
bool fill_vector(const TensorPlan& tensor, Random& random, std::span<uint8_t> bytes) {
  float mean = 0, deviation = 0;
  bool negative_exponential = false;
  switch (tensor.role) {
    case Role::kNorm:
    case Role::kHeadNorm:
      mean = 1;
      break;
    case Role::kLinearBias:  // softplus of it: slow and fast heads
      mean = -4;
      deviation = 1;
      break;
    case Role::kLinearDecay:  // -exp(A): the fastest decay of each head
      mean = 1;
      deviation = 0.7f;
      negative_exponential = true;
      break;
    default:
      return false;
  }
  for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
    float value = mean + deviation * random.gaussian();
    if (negative_exponential) value = -std::exp(value);
    std::memcpy(bytes.data() + at, &value, sizeof(float));
  }
  return true;
}

// Makes the bytes of one tensor, piece by piece.
class TensorMaker {
 public:
  TensorMaker(const TensorPlan& tensor, const SynthOptions& options, uint64_t key, RowRule rule)
      : tensor_(tensor),
        traits_(quant::traits(tensor.type)),
        seed_(mix_bits(options.seed) ^ mix_bits(key + 1)),
        rule_(std::move(rule)),
        cols_(tensor.shape[0]),
        row_bytes_(quant::row_bytes(tensor.type, cols_)),
        blocks_(tensor.type, deviation_of(tensor, options.shape), seed_) {
    rows_ = 1;
    for (size_t i = 1; i < tensor.shape.size(); ++i) rows_ *= tensor.shape[i];
    unit_rows_ = static_cast<int64_t>(std::max<size_t>(kUnitBytes / row_bytes_, 1));
  }

  uint64_t bytes() const { return static_cast<uint64_t>(rows_) * row_bytes_; }
  int64_t units() const { return (rows_ + unit_rows_ - 1) / unit_rows_; }
  int64_t units_per_piece() const {
    return static_cast<int64_t>(
        std::max<size_t>(kPieceBytes / (static_cast<size_t>(unit_rows_) * row_bytes_), 1));
  }

  // Units [first, first + count).
  void make(int64_t first, int64_t count, ThreadPool& pool, std::vector<uint8_t>& out) const {
    const int64_t begin = first * unit_rows_;
    const int64_t end = std::min(rows_, (first + count) * unit_rows_);
    out.resize(static_cast<size_t>(end - begin) * row_bytes_);
    pool.run(count, [&](int, int64_t unit) {
      const int64_t row = (first + unit) * unit_rows_;
      const int64_t last = std::min(end, row + unit_rows_);
      make_rows(row, last,
                std::span(out).subspan(static_cast<size_t>(row - begin) * row_bytes_,
                                       static_cast<size_t>(last - row) * row_bytes_));
    });
  }

 private:
  void make_rows(int64_t row, int64_t end, std::span<uint8_t> bytes) const {
    Random random(seed_, static_cast<uint64_t>(row));
    if (!fill_vector(tensor_, random, bytes)) blocks_.fill(random, bytes);
    if (!rule_) return;
    std::vector<float> values(static_cast<size_t>(cols_));
    for (uint8_t* at = bytes.data(); row < end; ++row, at += row_bytes_) {
      std::fill(values.begin(), values.end(), 0.0f);
      switch (rule_(row, values)) {
        case RowFill::kRandom:
          break;
        case RowFill::kZero:  // scales of zero in every format
          std::memset(at, 0, row_bytes_);
          break;
        case RowFill::kBegin:
          traits_.encode(values.data(), kReserved, at);
          break;
        case RowFill::kWhole:
          traits_.encode(values.data(), cols_, at);
          break;
      }
    }
  }

  const TensorPlan& tensor_;
  const quant::Traits& traits_;
  uint64_t seed_;
  RowRule rule_;
  int64_t cols_;
  size_t row_bytes_;
  RandomBlocks blocks_;
  int64_t rows_ = 1;
  int64_t unit_rows_ = 1;
};

RowRule rule_of(const TensorPlan& tensor, const SynthOptions& options,
                const Vocabulary& vocabulary) {
  if (tensor.role != Role::kOutput) return routing_rule(tensor, options);
  // Control tokens and padding get the logit 0, far below the best: no answer ends by chance.
  const int64_t ordinary = vocabulary.ordinary;
  return [ordinary](int64_t row, std::span<float>) {
    return row < ordinary ? RowFill::kRandom : RowFill::kZero;
  };
}

// What is there of `path`'s folder, before the disk is full in the middle.
Status check_room(const std::string& path, uint64_t needed) {
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  if (error)
    return fail(ErrorKind::kIo, "{}: cannot look at the folder: {}", path, error.message());
  if (space.available >= needed) return {};
  constexpr double kGiB = 1 << 30;
  return fail(ErrorKind::kIo,
              "{}: needs {:.2f} GiB, the disk has {:.2f} GiB free: choose another disk, or fewer "
              "--layers or a smaller --quant",
              path, static_cast<double>(needed) / kGiB,
              static_cast<double>(space.available) / kGiB);
}

}  // namespace

uint64_t tensor_bytes(const SynthOptions& options) {
  uint64_t bytes = 0;
  for (const TensorPlan& tensor : plan_tensors(options.shape, *options.mix)) {
    int64_t rows = 1;
    for (size_t i = 1; i < tensor.shape.size(); ++i) rows *= tensor.shape[i];
    bytes += static_cast<uint64_t>(rows) * quant::row_bytes(tensor.type, tensor.shape[0]);
  }
  return bytes;
}

Status write_model(const SynthOptions& options, const std::string& path, const Progress& progress,
                   const std::atomic<bool>* cancel) {
  const Shape& shape = options.shape;
  SLUICE_TRY(check_shape(shape));
  SLUICE_TRY(check_routing(options));
  const Vocabulary vocabulary = make_vocabulary(shape.vocabulary);
  const std::vector<TensorPlan> tensors = plan_tensors(shape, *options.mix);
  // A vocabulary takes about 50 bytes for each token.
  SLUICE_TRY(check_room(path, tensor_bytes(options) + (uint64_t{1} << 20) +
                                  static_cast<uint64_t>(shape.vocabulary) * 64));

  gguf::Writer writer;
  set_metadata(shape, *options.mix, writer);
  set_metadata(vocabulary, writer);
  for (const TensorPlan& tensor : tensors)
    writer.add_tensor(tensor.name, tensor.type, tensor.shape);
  SLUICE_TRY(writer.begin(path));

  ThreadPool pool(options.threads);
  // One piece is written while the next is made. Waits at its end, so it comes after what it uses.
  std::array<std::vector<uint8_t>, 2> pieces;
  size_t turn = 0;
  std::future<Status> writing;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (progress) progress(tensors[i], i, tensors.size());
    const TensorMaker maker(tensors[i], options, i, rule_of(tensors[i], options, vocabulary));
    const int64_t step = maker.units_per_piece();
    for (int64_t unit = 0; unit < maker.units(); unit += step) {
      if (cancel && cancel->load())
        return fail(ErrorKind::kCancelled, "{}: stopped on request, nothing is left of it", path);
      std::vector<uint8_t>& piece = pieces[turn];
      maker.make(unit, std::min(step, maker.units() - unit), pool, piece);
      if (writing.valid()) SLUICE_TRY(writing.get());
      // Without a policy: where no thread is to be had, get() does the work.
      writing = std::async([&writer, &piece] { return writer.write(piece); });
      turn = 1 - turn;
    }
  }
  if (writing.valid()) SLUICE_TRY(writing.get());
  return writer.finish();
}

}  // namespace sluice::synth
