// SPDX-License-Identifier: Apache-2.0
#include "residency/expert_cache.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <system_error>

#include "base/check.h"

namespace sluice::residency {
namespace {

using Clock = std::chrono::steady_clock;

// Slots of a class that a sweep may leave without a pinned expert: room for what it reads.
int64_t sweep_slots(int64_t slots) {
  return std::max<int64_t>(2, slots / 4);
}

// Steps of layers follow one another faster than this.
constexpr std::chrono::milliseconds kComputing{50};

// Never 0, which stands for "not read yet".
uint64_t checksum(const uint8_t* data, size_t bytes) {
  return std::max<uint64_t>(1, XXH3_64bits(data, bytes));
}

}  // namespace

Status ExpertCache::lay_out(uint32_t alignment) {
  SLUICE_CHECK(alignment <= storage::kMaxAlignment, "slots are aligned to pages");
  for (const LayerExperts& layer : table_.layers) {
    first_key_.push_back(static_cast<int32_t>(layer_of_.size()));
    layer_of_.insert(layer_of_.end(), layer.experts.size(),
                     static_cast<int32_t>(first_key_.size()) - 1);
  }
  entries_.resize(layer_of_.size());
  uses_ = std::vector<std::atomic<uint32_t>>(layer_of_.size());
  away_.resize(table_.layers.size());
  SLUICE_ASSIGN(arena_, SlotArena::create(table_, options_.used, options_.bytes));
  for (size_t c = 0; c < arena_.classes(); ++c) {
    // Layers have as many experts as one another.
    const auto layers =
        arena_.experts(c) / static_cast<int64_t>(table_.layers.front().experts.size());
    const int64_t token_uses = std::max<int64_t>(1, layers * options_.used);
    classes_.push_back({0, make_eviction(options_.policy, static_cast<int32_t>(entries_.size()),
                                         static_cast<int32_t>(token_uses))});
  }
  return {};
}

Result<std::unique_ptr<ExpertCache>> ExpertCache::create(ExpertTable table,
                                                         std::unique_ptr<storage::ReadQueue> queue,
                                                         const CacheOptions& options) {
  std::unique_ptr<ExpertCache> cache(new ExpertCache(std::move(table), options));
  if (cache->table_.layers.empty()) {
    cache->complete_.store(true);
    return cache;
  }
  SLUICE_TRY(cache->lay_out(queue->alignment()));
  const uint32_t alignment = queue->alignment();
  const uint32_t piece = std::max(options.piece_bytes / alignment, 1u) * alignment;
  ExpertCache* self = cache.get();
  try {
    cache->transfers_ = std::make_unique<TransferQueue>(
        std::move(queue), piece,
        [self](const Transfer& transfer, Status status) {
          self->arrived(transfer, std::move(status));
        },
        [self](int in_flight, std::vector<Transfer>& ahead) {
          self->read_ahead(in_flight, ahead);
        });
  } catch (const std::system_error& error) {
    return fail(ErrorKind::kTooLarge, "no thread to read experts with: {}: raise ulimit -u",
                error.code().message());
  }
  return cache;
}

ExpertCache::~ExpertCache() = default;

int64_t ExpertCache::slots() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  int64_t slots = 0;
  for (size_t c = 0; c < arena_.classes(); ++c) slots += arena_.slots(c);
  return slots;
}

ArenaUse ExpertCache::use() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return arena_.use();
}

CacheStatistics ExpertCache::statistics() const {
  CacheStatistics s;
  s.requests = requests_.load(std::memory_order_relaxed);
  s.hits = hits_.load(std::memory_order_relaxed);
  s.loads = loads_.load(std::memory_order_relaxed);
  s.evictions = evictions_.load(std::memory_order_relaxed);
  s.stalled = std::chrono::nanoseconds(stalled_ns_.load(std::memory_order_relaxed));
  s.held = std::chrono::nanoseconds(held_ns_.load(std::memory_order_relaxed));
  s.bytes_again = bytes_again_.load(std::memory_order_relaxed);
  const ArenaUse arena = use();
  s.given_back = arena.most - arena.aim;
  s.bytes_while_stalled = bytes_while_stalled_.load(std::memory_order_relaxed);
  if (transfers_) {
    const TransferQueue::Statistics moved = transfers_->statistics();
    s.bytes_read = moved.bytes;
    s.reading = moved.busy;
  }
  return s;
}

const ByteRange& ExpertCache::range(int32_t key, int part) const {
  const int32_t layer = layer_of_[static_cast<size_t>(key)];
  const int32_t expert = key - first_key_[static_cast<size_t>(layer)];
  return table_.layers[static_cast<size_t>(layer)]
      .experts[static_cast<size_t>(expert)][static_cast<size_t>(part)];
}

// --- with mutex_ held ---

void ExpertCache::pin(int32_t key) {
  if (entries_[static_cast<size_t>(key)].pins++ == 0) ++classes_[class_of(key)].pinned;
}

void ExpertCache::unpin(int32_t key) {
  Entry& entry = entries_[static_cast<size_t>(key)];
  if (--entry.pins > 0) return;
  --classes_[class_of(key)].pinned;
  if (entry.failed && entry.parts_left == 0) drop(key);
}

// The expert has no slot any more.
void ExpertCache::drop(int32_t key) {
  Entry& entry = entries_[static_cast<size_t>(key)];
  const size_t c = class_of(key);
  if (entry.state == State::kReady) --ready_;
  arena_.give(c, entry.slot);
  classes_[c].order->erase(key);
  if (Timeline* timeline = timeline_) {
    const int32_t layer = layer_of_[static_cast<size_t>(key)];
    timeline->left(layer, key - first_key_[static_cast<size_t>(layer)]);
  }
  entry.state = State::kAbsent;
  entry.failed = false;
  entry.slot = -1;
  if (!entry.expected) return;
  entry.expected = false;
  --expected_;
}

// Who leaves first, of those that may. False: all are in use.
bool ExpertCache::evict(size_t size_class) {
  const int32_t leaving = classes_[size_class].order->victim([this](int32_t other) {
    const Entry& entry = entries_[static_cast<size_t>(other)];
    return entry.pins == 0 && !entry.expected && entry.state == State::kReady;
  });
  if (leaving < 0) return false;
  drop(leaving);
  entries_[static_cast<size_t>(leaving)].came = 0;
  evictions_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

// Between steps: makes the arena as small as it is to be. `streams`: those that the caller knows to
// hold nothing.
void ExpertCache::settle(int streams) {
  if (complete_.load() || streams_.load() != streams) return;
  for (size_t c = 0; c < arena_.classes(); ++c) {
    while (arena_.excess(c) > 0) {
      arena_.trim(c);
      if (arena_.excess(c) > 0 && !evict(c)) break;
    }
  }
}

// A slot for an absent expert, from who leaves first if none is free. False: all are in use.
bool ExpertCache::reserve(int32_t key, Use use) {
  const size_t c = class_of(key);
  if (!arena_.has_free(c) && !evict(c)) return false;
  entries_[static_cast<size_t>(key)].slot = arena_.take(c);
  classes_[c].order->insert(key, use);
  return true;
}

// Where the parts of an expert that has a slot lie: in it, in phase with the file.
void ExpertCache::place_parts(int32_t key) {
  Entry& entry = entries_[static_cast<size_t>(key)];
  for (int p = 0; p < kParts; ++p) {
    const auto part = static_cast<size_t>(p);
    const ByteRange& from = range(key, p);
    entry.parts[part] =
        arena_.part(class_of(key), entry.slot, part) +
        storage::enclosing_window(from.offset, from.bytes, transfers_->alignment()).phase;
  }
}

// Appends the transfers of an expert that has a slot.
void ExpertCache::load(int32_t key, std::vector<Transfer>& to) {
  Entry& entry = entries_[static_cast<size_t>(key)];
  entry.state = State::kLoading;
  entry.parts_left = kParts;
  place_parts(key);
  for (int p = 0; p < kParts; ++p) {
    const auto part = static_cast<size_t>(p);
    const ByteRange& from = range(key, p);
    Transfer& transfer = to.emplace_back();
    transfer.key = key;
    transfer.part = p;
    transfer.file = from.file;
    transfer.window = storage::enclosing_window(from.offset, from.bytes, transfers_->alignment());
    transfer.to = arena_.part(class_of(key), entry.slot, part);
    if ((entry.came >> p & 1) != 0) bytes_again_.fetch_add(from.bytes, std::memory_order_relaxed);
  }
  entry.came = 0;
  loads_.fetch_add(1, std::memory_order_relaxed);
  if (Timeline* timeline = timeline_) {
    const int32_t layer = layer_of_[static_cast<size_t>(key)];
    timeline->came(layer, key - first_key_[static_cast<size_t>(layer)]);
  }
}

void ExpertCache::end_expectations() {
  if (expected_ > 0)
    for (Entry& entry : entries_) entry.expected = false;
  expected_ = 0;
  sweep_layer_ = -1;
}

// What an idle disk does: a sweep's next layer, then free slots.
void ExpertCache::read_ahead(int in_flight, std::vector<Transfer>& to) {
  if (complete()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (sweep_layer_ >= 0) {
    const auto layer = static_cast<size_t>(sweep_layer_);
    const int64_t most = sweep_slots(arena_.slots(arena_.class_of_layer(layer))) / 2;
    const auto experts = static_cast<int32_t>(table_.layers[layer].experts.size());
    while (sweep_expert_ < experts && expected_ < most) {
      const int32_t key = first_key_[layer] + sweep_expert_++;
      Entry& entry = entries_[static_cast<size_t>(key)];
      if (entry.state == State::kAbsent) {
        if (!reserve(key, Use::kScan)) {
          --sweep_expert_;
          break;
        }
        load(key, to);
        entry.expected = true;
        ++expected_;
        return;
      }
      if (entry.expected || entry.state == State::kElsewhere) continue;
      entry.expected = true;
      ++expected_;
    }
  }
  // A layer of a token that is being computed would wait behind these.
  if (in_flight > 0 && Clock::now() - last_begin_ < kComputing) return;
  for (; filled_ < fill_order_.size(); ++filled_) {
    const int32_t key = fill_order_[filled_];
    if (entries_[static_cast<size_t>(key)].state != State::kAbsent) continue;
    if (!arena_.has_free(class_of(key))) continue;
    reserve(key, filled_ < fill_first_ ? Use::kToken : Use::kScan);
    load(key, to);
    return;
  }
  changed_.notify_all();  // who waits for it learns that it has ended
}

// Pins and asks for as many of the stream's experts as there is room for.
void ExpertCache::ask(ExpertStream& stream) {
  wanted_.reserve(wanted_.size() + kParts * (stream.ids_.size() - stream.asked_));
  for (; stream.asked_ < stream.ids_.size(); ++stream.asked_) {
    const size_t i = stream.asked_;
    const int32_t key = stream.first_key_ + stream.ids_[i];
    Entry& entry = entries_[static_cast<size_t>(key)];
    // Parts of a read that failed before are still on their way to this slot.
    if (entry.failed && !stream.held_[i]) break;
    const Use use = stream.lasting_.empty() || stream.lasting_[i] == 0 ? stream.use_ : Use::kToken;
    if (entry.state == State::kAbsent) {
      if (!reserve(key, use)) break;
      load(key, wanted_);
    } else if (!stream.held_[i]) {
      classes_[class_of(key)].order->touch(key, use);
    }
    if (!stream.held_[i]) {
      pin(key);
      stream.held_[i] = 1;
    }
  }
  transfers_->add(wanted_);
  wanted_.clear();
}

void ExpertCache::release(ExpertStream& stream, size_t end) {
  for (; stream.released_ < end; ++stream.released_) {
    const size_t i = stream.released_;
    if (!stream.held_[i]) continue;
    stream.held_[i] = 0;
    unpin(stream.first_key_ + stream.ids_[i]);
  }
}

// --- the computing thread ---

void ExpertCache::begin(int32_t layer, std::span<const int32_t> ids, Use use,
                        std::span<const uint8_t> lasting, ExpertStream& stream) {
  SLUICE_CHECK(stream.cache_ == nullptr, "the stream's last step has ended");
  // What can fail for want of memory comes first.
  stream.ids_.assign(ids.begin(), ids.end());
  stream.ready_.clear();
  stream.ready_.reserve(ids.size());
  stream.lasting_.reserve(ids.size());
  stream.held_.reserve(ids.size());
  stream.given_.reserve(ids.size());
  requests_.fetch_add(ids.size(), std::memory_order_relaxed);
  for (const int32_t id : ids) {
    auto& uses = uses_[static_cast<size_t>(first_key_[static_cast<size_t>(layer)] + id)];
    uses.store(uses.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  stream.use_ = use;
  stream.first_key_ = first_key_[static_cast<size_t>(layer)];
  stream.handed_ = 0;
  stream.cache_ = this;
  stream.begun_ = Clock::now();
  streams_.fetch_add(1);
  if (complete_.load()) {
    if (trace_) trace_->record(layer, ids, use, lasting);
    hits_.fetch_add(ids.size(), std::memory_order_relaxed);
    if (Timeline* timeline = timeline_) {
      here_.assign(ids.size(), 1);
      timeline->begin(layer, ids, here_, use);
    }
    for (size_t i = 0; i < ids.size(); ++i)
      stream.ready_.push_back({static_cast<int32_t>(i),
                               entries_[static_cast<size_t>(stream.first_key_ + ids[i])].parts});
    return;
  }
  stream.lasting_.assign(lasting.begin(), lasting.end());
  stream.held_.assign(ids.size(), 0);
  stream.given_.assign(ids.size(), 0);
  stream.asked_ = stream.released_ = 0;

  const std::lock_guard<std::mutex> lock(mutex_);
  last_begin_ = stream.begun_;
  settle(1);
  const size_t size_class = arena_.class_of_layer(static_cast<size_t>(layer));
  Class& c = classes_[size_class];
  const int64_t slots = arena_.slots(size_class);
  if (use == Use::kToken &&
      static_cast<int64_t>(ids.size()) > std::max<int64_t>(slots / 2, options_.used)) {
    stream.use_ = use = Use::kScan;
    stream.lasting_.assign(ids.size(), 1);
  }
  if (trace_) trace_->record(layer, ids, use, stream.lasting_);
  // What is here stays: it is held before room is made for the rest. A sweep leaves some slots for
  // that.
  const int64_t most = use == Use::kToken ? slots : slots - sweep_slots(slots);
  uint64_t hits = 0;
  if (Timeline* timeline = timeline_) {
    here_.clear();
    for (const int32_t id : ids)
      here_.push_back(entries_[static_cast<size_t>(stream.first_key_ + id)].state == State::kReady);
    timeline->begin(layer, ids, here_, use);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const int32_t key = stream.first_key_ + ids[i];
    const Entry& entry = entries_[static_cast<size_t>(key)];
    if (entry.state == State::kAbsent || entry.failed) continue;
    hits += entry.state == State::kReady ? 1 : 0;
    if (c.pinned >= most) continue;
    const bool lasts = use == Use::kToken || (!stream.lasting_.empty() && stream.lasting_[i] != 0);
    c.order->touch(key, lasts ? Use::kToken : Use::kScan);
    pin(key);
    stream.held_[i] = 1;
  }
  hits_.fetch_add(hits, std::memory_order_relaxed);
  end_expectations();
  ask(stream);
  // A batch that needs most of a layer's experts will need most of the next layer's.
  const auto at = static_cast<size_t>(layer), next = at + 1;
  const size_t kept = table_.layers[at].experts.size() - static_cast<size_t>(away_[at]);
  if (use == Use::kScan && next < table_.layers.size() && 8 * ids.size() > 7 * kept) {
    sweep_layer_ = static_cast<int32_t>(next);
    sweep_expert_ = 0;
    transfers_->wake();
  }
}

Result<std::span<const ExpertStream::Ready>> ExpertStream::next() {
  if (!cache_) return std::span<const Ready>();
  return cache_->next(*this);
}

void ExpertStream::finish() {
  if (!cache_) return;
  if (!held_.empty()) {
    const std::lock_guard<std::mutex> lock(cache_->mutex_);
    cache_->release(*this, held_.size());
    cache_->settle(1);
  }
  held_.clear();
  if (Timeline* timeline = cache_->timeline_) timeline->end();
  const Clock::duration held = Clock::now() - begun_;
  cache_->held_ns_.fetch_add(held.count(), std::memory_order_relaxed);
  cache_->streams_.fetch_sub(1);
  cache_ = nullptr;
}

Result<std::span<const ExpertStream::Ready>> ExpertCache::next(ExpertStream& stream) {
  using Ready = ExpertStream::Ready;
  const size_t count = stream.ids_.size();
  if (stream.held_.empty()) {  // all are here and stay
    if (stream.handed_ == count) return std::span<const Ready>();
    stream.handed_ = count;
    return std::span<const Ready>(stream.ready_);
  }
  stream.ready_.clear();
  std::unique_lock<std::mutex> lock(mutex_);
  if (stream.use_ == Use::kScan) release(stream, stream.handed_);
  Clock::time_point wait_began{}, deadline{};
  uint64_t bytes_before = 0;
  uint64_t arrivals = arrivals_;
  while (stream.handed_ < count) {
    if (stream.asked_ < count) ask(stream);
    const size_t from = stream.use_ == Use::kScan ? stream.handed_ : 0;
    for (size_t i = from; i < stream.asked_; ++i) {
      if (stream.given_[i]) continue;
      const Entry& entry = entries_[static_cast<size_t>(stream.first_key_ + stream.ids_[i])];
      if (entry.failed) {
        Error error = last_failure_.error();
        lock.unlock();
        stream.finish();
        return fail(std::move(error));
      }
      if (entry.state == State::kReady) {
        stream.given_[i] = 1;
        stream.ready_.push_back({static_cast<int32_t>(i), entry.parts});
        ++stream.handed_;
      } else if (stream.use_ == Use::kScan) {
        break;
      }
    }
    if (!stream.ready_.empty()) break;
    if (wait_began == Clock::time_point{}) {
      wait_began = Clock::now();
      bytes_before = transfers_->statistics().bytes;
      deadline = wait_began + options_.patience;
    }
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout && arrivals == arrivals_) {
      const int32_t key = stream.first_key_ + stream.ids_[std::min(stream.asked_, count - 1)];
      lock.unlock();
      stream.finish();
      return fail(ErrorKind::kIo,
                  "{}: no answer from the disk for {} ms: check the drive, or its system's log",
                  table_.files[static_cast<size_t>(range(key, kGate).file)],
                  options_.patience.count());
    }
    if (arrivals != arrivals_) deadline = Clock::now() + options_.patience;
    arrivals = arrivals_;
  }
  if (wait_began != Clock::time_point{}) {
    const Clock::duration waited = Clock::now() - wait_began;
    stalled_ns_.fetch_add(waited.count(), std::memory_order_relaxed);
    bytes_while_stalled_.fetch_add(transfers_->statistics().bytes - bytes_before,
                                   std::memory_order_relaxed);
    if (Timeline* timeline = timeline_) timeline->waited(waited);
  }
  return std::span<const Ready>(stream.ready_);
}

void ExpertCache::fill(std::span<const int32_t> first, bool others) {
  if (complete()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  fill_order_.assign(first.begin(), first.end());
  fill_first_ = first.size();
  if (others) {
    std::vector<uint8_t> is_first(entries_.size());
    for (const int32_t key : first) is_first[static_cast<size_t>(key)] = 1;
    for (size_t key = 0; key < entries_.size(); ++key)
      if (!is_first[key]) fill_order_.push_back(static_cast<int32_t>(key));
  }
  const auto in_file_order = [this](int32_t a, int32_t b) {
    const ByteRange &x = range(a, kGate), &y = range(b, kGate);
    return std::pair(x.file, x.offset) < std::pair(y.file, y.offset);
  };
  const auto middle = fill_order_.begin() + static_cast<std::ptrdiff_t>(fill_first_);
  std::sort(fill_order_.begin(), middle, in_file_order);
  std::sort(middle, fill_order_.end(), in_file_order);
  filled_ = 0;
  transfers_->wake();
}

void ExpertCache::resize(uint64_t bytes) {
  if (entries_.empty()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  arena_.aim(bytes);
  bool smaller = false;
  for (size_t c = 0; c < arena_.classes(); ++c) smaller |= arena_.slots(c) < arena_.experts(c);
  if (smaller) complete_.store(false);
  settle(0);
  note_complete();
  filled_ = 0;  // there may be free slots again
  transfers_->wake();
}

void ExpertCache::record_to(Timeline* timeline) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (size_t key = 0; timeline && key < entries_.size(); ++key) {
    const State state = entries_[key].state;
    if (state == State::kAbsent || state == State::kElsewhere) continue;
    const int32_t layer = layer_of_[key];
    timeline->came(layer, static_cast<int32_t>(key) - first_key_[static_cast<size_t>(layer)]);
  }
  timeline_ = timeline;
}

Status ExpertCache::wait_until_full() {
  std::unique_lock<std::mutex> lock(mutex_);
  uint64_t arrivals = arrivals_;
  Clock::time_point deadline = Clock::now() + options_.patience;
  while (!complete()) {
    const bool reading = filled_ < fill_order_.size() ||
                         std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) {
                           return entry.state == State::kLoading;
                         });
    if (!reading || !last_failure_) break;
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout && arrivals == arrivals_)
      return fail(ErrorKind::kIo, "{}: no answer from the disk for {} ms", table_.files.front(),
                  options_.patience.count());
    if (arrivals != arrivals_) deadline = Clock::now() + options_.patience;
    arrivals = arrivals_;
  }
  return last_failure_;
}

// --- the thread of the transfers ---

Status ExpertCache::verify(Entry& entry, const Transfer& transfer, uint64_t sum) {
  uint64_t& known = entry.sums[static_cast<size_t>(transfer.part)];
  if (known == 0) known = sum;
  if (known == sum) return {};
  const auto layer = static_cast<size_t>(layer_of_[static_cast<size_t>(transfer.key)]);
  const ByteRange& from = range(transfer.key, transfer.part);
  return fail(ErrorKind::kBadFile,
              "{}: {} of expert {}, at byte {}: the bytes are not those that were read before; the "
              "file was changed, or the disk or memory is failing",
              table_.files[static_cast<size_t>(from.file)],
              table_.layers[layer].names[static_cast<size_t>(transfer.part)],
              transfer.key - first_key_[layer], from.offset);
}

// With mutex_ held.
void ExpertCache::note_complete() {
  if (ready_ + elsewhere_ < static_cast<int64_t>(entries_.size())) return;
  for (size_t c = 0; c < arena_.classes(); ++c)
    if (arena_.excess(c) > 0) return;
  last_failure_ = {};
  complete_.store(true);
}

void ExpertCache::arrived(const Transfer& transfer, Status status) {
  uint64_t sum = 0;
  if (status)
    sum = checksum(transfer.to + transfer.window.phase,
                   transfer.window.needed - transfer.window.phase);
  const std::lock_guard<std::mutex> lock(mutex_);
  Entry& entry = entries_[static_cast<size_t>(transfer.key)];
  if (status) status = verify(entry, transfer, sum);
  if (status) {
    const uint64_t part = transfer.window.needed - transfer.window.phase;
    bytes_again_.fetch_add(transfer.window.bytes - part, std::memory_order_relaxed);
    entry.came |= static_cast<uint8_t>(1 << transfer.part);
  } else {
    entry.failed = true;
    last_failure_ = std::move(status);
  }
  ++arrivals_;
  if (--entry.parts_left == 0) {
    if (!entry.failed) {
      entry.state = State::kReady;
      ++ready_;
      note_complete();
    } else if (entry.pins == 0) {
      drop(transfer.key);
    }
  }
  changed_.notify_all();
}

}  // namespace sluice::residency
