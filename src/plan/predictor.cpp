// SPDX-License-Identifier: Apache-2.0
#include "plan/predictor.h"

#include <algorithm>
#include <cmath>

#include "plan/hit_rates.h"

namespace sluice::plan {
namespace {

// Operations of one row beside the products: norms, rotary embedding, storing keys and values,
// attention, router. Counted in the forward passes.
constexpr double kAttentionOperations = 9;
constexpr double kRecurrentOperations = 8;
constexpr double kEndOperations = 3;  // embedding, last norm, output

constexpr double kParts = 3;  // reads of an expert

// Probability that exactly n of `count` happen, each with probability p.
double binomial(int64_t n, int64_t count, double p) {
  if (p <= 0) return n == 0 ? 1 : 0;
  if (p >= 1) return n == count ? 1 : 0;
  const auto a = static_cast<double>(n), b = static_cast<double>(count);
  return std::exp(std::lgamma(b + 1) - std::lgamma(a + 1) - std::lgamma(b - a + 1) +
                  a * std::log(p) + (b - a) * std::log1p(-p));
}

double share(uint64_t part, uint64_t all) {
  return all == 0 ? 1 : std::min(1.0, static_cast<double>(part) / static_cast<double>(all));
}

}  // namespace

StepTime& StepTime::operator+=(const StepTime& other) {
  total += other.total;
  processor += other.processor;
  disk += other.disk;
  device += other.device;
  return *this;
}

StepTime StepTime::operator*(double factor) const {
  return {total * factor, processor * factor, disk * factor, device * factor};
}

Kind StepTime::bound(bool prompt) const {
  if (disk >= processor && disk >= device) return Kind::kDisk;
  if (device >= processor) return Kind::kDevice;
  return prompt ? Kind::kPrefill : Kind::kDecode;
}

const machine::DiskTimes& usual_disk() {
  static const machine::DiskTimes disk = [] {
    machine::DiskTimes usual;
    usual.what = "assumed: an NVMe disk of 2 GB/s";
    usual.bytes = 864 << 10;
    usual.direct = true;
    for (const int reads : {3, 12, 48})
      usual.times.push_back({reads, 0.0003 + reads * usual.bytes / 2e9});
    return usual;
  }();
  return disk;
}

Predictor::Predictor(const Work& work, const machine::Machine& machine,
                     const engine::Placement& placement, const machine::DiskTimes* disk,
                     const Corrections& corrections, const PredictorOptions& options)
    : work_(work),
      machine_(machine),
      placement_(placement),
      disk_(disk ? disk : &usual_disk()),
      corrections_(corrections),
      options_(options),
      host_(machine.processor.rates, &machine.processor,
            options.threads > 0 ? options.threads : machine.processor.threads,
            work.dense_bytes() + work.expert_bytes()) {
  if (placement.device && machine.accelerator)
    device_.emplace(machine.accelerator->rates, nullptr, 0, 0);
  const engine::MemoryPlan& memory = placement.memory;
  if (work.experts == 0) {
    shares_.memory = device_ ? 0 : 1;
    shares_.device = device_ ? 1 : 0;
    held_ = 1;
    held_device_ = device_ ? 1 : 0;
    return;
  }
  if (device_) held_device_ = share(placement.device->cache, placement.device->experts);
  held_ = memory.all_experts() ? 1 : share(memory.cache + memory.elsewhere, memory.experts);
  held_ = std::max(held_, held_device_);
  shares_.device = hit_rate(held_device_, work.experts, work.used);
  const double anywhere = hit_rate(held_, work.experts, work.used);
  shares_.memory = anywhere - shares_.device;
  shares_.disk = 1 - anywhere;
}

double Predictor::corrected(Kind kind, double seconds) const {
  return seconds * corrections_.of(kind).factor;
}

// Everything of a layer but its experts. The last layer of a prompt computes one row after its keys
// and values.
double Predictor::dense_seconds(const Costs& costs, const LayerWork& layer, int64_t rows,
                                int64_t position, bool last) const {
  const int64_t wanted = last ? 1 : rows;
  double seconds =
      costs.operation() * (layer.recurrent ? kRecurrentOperations : kAttentionOperations);
  for (const Product& product : layer.dense)
    seconds += costs.dense(product, product.late ? wanted : rows);
  if (layer.recurrent)
    seconds += costs.recurrent(work_, rows);
  else
    seconds += costs.attention(work_, wanted, position + rows - wanted);
  if (layer.router.weights > 0) seconds += costs.dense(layer.router, wanted);
  if (!layer.shared.empty())
    seconds += costs.expert(layer.shared, static_cast<double>(wanted)) + costs.operation();
  return seconds + costs.norm(4.0 * static_cast<double>(rows * work_.dim));
}

// `count` of a token's experts on the CPU, each of which is on the disk with probability `miss`:
// what is there is computed while the others are read, each of those as it comes.
StepTime Predictor::host_experts(const LayerWork& layer, int64_t count, double miss) const {
  StepTime expected;
  const double one = corrected(Kind::kDecode, host_.expert(layer.expert, 1));
  const double operation = corrected(Kind::kDecode, host_.operation());
  const auto bytes = static_cast<double>(layer.expert_bytes());
  for (int64_t missing = 0; missing <= count; ++missing) {
    const double p = binomial(missing, count, miss);
    if (p < 1e-6) continue;
    const auto m = static_cast<double>(missing);
    const double compute = one * static_cast<double>(count) + operation * (missing > 0 ? 2 + m : 1);
    const double disk =
        missing > 0 ? corrected(Kind::kDisk, disk_seconds(*disk_, kParts * m, bytes * m)) : 0;
    const double total = std::max(compute, disk + (missing > 0 ? one + 2 * operation : 0));
    expected += StepTime{total, compute, total - compute, 0} * p;
  }
  return expected;
}

StepTime Predictor::token_experts(const LayerWork& layer) const {
  if (work_.experts == 0) {
    const Costs& costs = device_ ? *device_ : host_;
    const double seconds = corrected(device_ ? Kind::kDevice : Kind::kDecode,
                                     costs.expert(layer.expert, 1) + costs.operation());
    return {seconds, device_ ? 0 : seconds, 0, device_ ? seconds : 0};
  }
  const double elsewhere = 1 - shares_.device;
  if (!device_) return host_experts(layer, work_.used, shares_.disk);
  StepTime expected;
  const double miss = elsewhere > 0 ? std::min(1.0, shares_.disk / elsewhere) : 0;
  for (int64_t host = 0; host <= work_.used; ++host) {
    const double p = binomial(host, work_.used, elsewhere);
    if (p < 1e-6) continue;
    const double there =
        corrected(Kind::kDevice, device_->operation() + device_->expert(layer.expert, 1) *
                                                            static_cast<double>(work_.used - host));
    if (host == 0) {
      expected += StepTime{there, 0, 0, there} * p;
      continue;
    }
    StepTime here = host_experts(layer, host, miss);
    // The sum of the CPU's experts is sent over and added.
    const double back = corrected(Kind::kDevice, device_->answer() + device_->operation());
    here.device = there + back;
    here.total = std::max(here.total, there) + back;
    expected += here * p;
  }
  return expected;
}

StepTime Predictor::token(int64_t position) const {
  const Costs& costs = device_ ? *device_ : host_;
  const Kind kind = device_ ? Kind::kDevice : Kind::kDecode;
  StepTime sum;
  double dense = costs.operation() * kEndOperations + costs.dense(work_.output, 1);
  for (const LayerWork& layer : work_.layers) {
    // The router's answer comes to the host.
    dense += dense_seconds(costs, layer, 1, position, false) + costs.answer();
    sum += token_experts(layer);
  }
  if (device_) dense += device_->answer();
  dense = corrected(kind, dense);
  sum.total += dense;
  (device_ ? sum.device : sum.processor) += dense;
  return sum;
}

StepTime Predictor::generation(int64_t tokens, int64_t position) const {
  // Attention grows evenly with the position.
  return token(position + tokens / 2) * static_cast<double>(tokens);
}

StepTime Predictor::batch_experts(const LayerWork& layer, int64_t rows) const {
  const auto all_rows = static_cast<double>(rows);
  if (work_.experts == 0) {
    const Costs& costs = device_ ? *device_ : host_;
    const double seconds = corrected(device_ ? Kind::kDevice : Kind::kPrefill,
                                     costs.expert(layer.expert, all_rows) + costs.operation());
    return {seconds, device_ ? 0 : seconds, 0, device_ ? seconds : 0};
  }
  const double count = distinct_experts(rows, work_.experts, work_.used);
  const double each = all_rows * static_cast<double>(work_.used) / count;
  const auto bytes = static_cast<double>(layer.expert_bytes());
  const double found = batch_hit_rate(held_, rows, work_.experts, work_.used);
  const double missing = held_ >= 1 ? 0 : count * (1 - found);
  const double disk =
      corrected(Kind::kDisk, disk_seconds(*disk_, kParts * missing, bytes * missing));
  const double on_host =
      corrected(Kind::kPrefill, host_.expert(layer.expert, each) * count + host_.operation());
  if (!device_) {
    const double total = std::max(on_host, disk + (missing > 0 ? on_host / count : 0));
    return {total, on_host, total - on_host, 0};
  }
  const double there =
      held_device_ >= 1 ? 1 : batch_hit_rate(held_device_, rows, work_.experts, work_.used);
  const double on_device =
      corrected(Kind::kDevice, device_->expert(layer.expert, each) * count + device_->operation());
  const double copies =
      corrected(Kind::kDevice, count * (1 - there) * bytes / machine_.accelerator->to_device);
  // Either the experts come to the device, or the CPU computes those that it does not have.
  const double copied = std::max({on_device, copies, disk});
  const double beside = std::max({on_device, on_host * (1 - there), disk});
  const double total = std::min(copied, beside);
  const double waited = std::max(0.0, total == copied ? disk - std::max(on_device, copies) : 0.0);
  return {total, total == copied ? 0 : on_host * (1 - there), waited,
          total == copied ? std::max(on_device, copies) : on_device};
}

StepTime Predictor::batch(int64_t rows, int64_t position) const {
  if (rows == 1) return token(position);
  const Costs& costs = device_ ? *device_ : host_;
  const Kind kind = device_ ? Kind::kDevice : Kind::kPrefill;
  StepTime sum;
  double dense = costs.operation() * kEndOperations + costs.dense(work_.output, 1);
  for (const LayerWork& layer : work_.layers) {
    const bool last = work_.last_layer_late && &layer == &work_.layers.back();
    dense += dense_seconds(costs, layer, rows, position, last) + costs.answer();
    sum += last ? token_experts(layer) : batch_experts(layer, rows);
  }
  dense = corrected(kind, dense);
  sum.total += dense;
  (device_ ? sum.device : sum.processor) += dense;
  return sum;
}

StepTime Predictor::prompt(int64_t tokens, int64_t position) const {
  StepTime sum;
  for (int64_t done = 0; done < tokens; done += options_.ubatch)
    sum += batch(std::min(options_.ubatch, tokens - done), position + done);
  return sum;
}

}  // namespace sluice::plan
