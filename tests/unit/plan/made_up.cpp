// SPDX-License-Identifier: Apache-2.0
#include "made_up.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "../temp_folder.h"
#include "gguf/writer.h"
#include "synth/shape.h"

namespace sluice::test {
namespace {

// A file of which only the header is there: reading more is an error.
class HeaderReader final : public storage::Reader {
 public:
  HeaderReader(std::string header, uint64_t data)
      : header_(std::move(header)), size_(header_.size() + data) {}
  uint64_t size() const override { return size_; }
  const std::string& name() const override { return name_; }
  Status read_at(uint64_t offset, std::span<uint8_t> out) const override {
    // The reader of headers takes whole pieces.
    constexpr uint64_t kPiece = 1 << 20;
    if (offset + out.size() > header_.size() + kPiece)
      return fail(ErrorKind::kIo, "{}: byte {} is not needed for a plan", name_, offset);
    std::fill(out.begin(), out.end(), 0);
    if (offset < header_.size())
      std::copy_n(header_.begin() + static_cast<int64_t>(offset),
                  std::min<uint64_t>(out.size(), header_.size() - offset), out.begin());
    return {};
  }

 private:
  std::string name_ = "model.gguf";
  std::string header_;
  uint64_t size_;
};

}  // namespace

machine::ComputeRates rates_of(double per_second) {
  machine::ComputeRates rates;
  rates.name = "made up";
  rates.operation_seconds = 1e-6;
  for (uint32_t id = 0; id < quant::kTypeIdLimit; ++id)
    if (const quant::Traits* type = quant::find_traits(id))
      rates.types[std::string(type->name)] = {2 * per_second,
                                              {{1, per_second}, {64, 8 * per_second}},
                                              {{1, per_second}, {64, 8 * per_second}}};
  rates.norm_floats = per_second / 4;
  rates.attention_row = per_second / 8;
  rates.attention_batch = per_second;
  rates.delta_row = per_second / 8;
  rates.delta_batch = per_second / 4;
  return rates;
}

machine::Machine made_up_machine() {
  machine::Machine machine;
  machine.identity = "made up";
  machine.memory_bytes = 16 * kGiB;
  machine.available_bytes = 12 * kGiB;
  machine.processor = {"made up",     "none", 4, 0, {{1, 1e10}, {2, 2e10}, {4, 2.5e10}},
                       rates_of(1e10)};
  machine.disks.push_back({"made up", 1 << 20, true, {{1, 0.001}, {10, 0.010}, {100, 0.100}}});
  return machine;
}

machine::Machine with_accelerator() {
  machine::Machine machine = made_up_machine();
  machine.accelerator = machine::Accelerator{"made up", 6 * kGiB, 6 * kGiB, 1e10, rates_of(1e11)};
  machine.accelerator->rates.answer_seconds = 1e-5;
  return machine;
}

gguf::Gguf header_of(const std::string& name, int64_t layers, const std::string& mix_name) {
  synth::Shape shape;
  const gguf::Mix* mix = gguf::find_mix(mix_name);
  if (!synth::find_shape(name, shape) || !mix) throw std::runtime_error("no " + name);
  if (layers > 0) shape.layers = layers;
  gguf::Writer writer;
  synth::set_metadata(shape, *mix, writer);
  uint64_t bytes = 0;
  for (const synth::TensorPlan& tensor : synth::plan_tensors(shape, *mix)) {
    int64_t rows = 1;
    for (size_t i = 1; i < tensor.shape.size(); ++i) rows *= tensor.shape[i];
    bytes += quant::row_bytes(tensor.type, tensor.shape[0]) * static_cast<uint64_t>(rows) + 64;
    writer.add_tensor(tensor.name, tensor.type, tensor.shape);
  }
  const TempFolder folder;
  const std::string path = folder.file("model.gguf");
  if (const Status begun = writer.begin(path); !begun)
    throw std::runtime_error(begun.error().message);
  // A large piece of data takes the header along.
  const std::vector<uint8_t> piece(size_t{8} << 20);
  if (const Status written = writer.write(piece); !written)
    throw std::runtime_error(written.error().message);
  std::ifstream file(path + ".part", std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  std::vector<std::unique_ptr<storage::Reader>> readers;
  readers.push_back(std::make_unique<HeaderReader>(
      text.str().substr(0, text.str().size() - piece.size()), bytes));
  auto model = gguf::Gguf::parse(std::move(readers));
  if (!model) throw std::runtime_error(model.error().message);
  return std::move(*model);
}

plan::Corrections no_corrections() {
  plan::Corrections none;
  none.identity = "made up";
  return none;
}

}  // namespace sluice::test
