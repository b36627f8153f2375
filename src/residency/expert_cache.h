// SPDX-License-Identifier: Apache-2.0
// Which expert is in memory, who uses it, and the only code that moves expert bytes. Told (layer,
// expert) -> file ranges and how much memory there is; hands out experts as they are there.
//
// Memory is one arena of slots (slot_arena.h). Where all experts fit, each gets a slot and stays;
// else the policy says who leaves. The arena can shrink and grow while it is used.
//
// One thread computes: it calls begin() and ExpertStream's functions. What it was handed stays in
// place until finish(); a thread of the transfer queue fills slots. resize(), use(), uses(),
// statistics() and take_census() are for any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "residency/census.h"
#include "residency/eviction.h"
#include "residency/expert_table.h"
#include "residency/slot_arena.h"
#include "residency/timeline.h"
#include "residency/trace.h"
#include "residency/transfer_queue.h"
#include "storage/read_queue.h"

namespace sluice::residency {

struct CacheOptions {
  uint64_t bytes = UINT64_MAX;     // for slots; what is beyond all experts is left alone
  int32_t used = 1;                // experts of a layer that one token uses
  uint32_t piece_bytes = 1 << 20;  // of one read, at most
  Policy policy = kDefaultPolicy;
  // A wait in which nothing arrives for so long is an error.
  std::chrono::milliseconds patience{1900};
};

struct CacheStatistics {
  uint64_t requests = 0;  // experts asked for
  uint64_t hits = 0;      // of them, those that were in memory
  uint64_t loads = 0;     // experts whose reading was begun
  uint64_t evictions = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_while_stalled = 0;  // of them, those that came while the computation waited
  // Of them, those that were there already, or came once more though nothing had left: padding of
  // windows, experts that are read anew since a part of them failed.
  uint64_t bytes_again = 0;
  uint64_t given_back = 0;              // bytes of slots that wait for memory to be less short
  std::chrono::nanoseconds reading{0};  // time with reads under way
  std::chrono::nanoseconds stalled{0};  // time in which the computation waited for reads
  std::chrono::nanoseconds held{0};     // from begin() to finish(): computing experts, and waiting
};

class ExpertCache;

// The experts of one step in one layer. Reused from layer to layer, so that the token loop does not
// allocate once it is warm.
class ExpertStream {
 public:
  struct Ready {
    int32_t index;  // of the ids given to begin()
    ExpertParts parts;
  };

  ExpertStream() = default;
  ~ExpertStream() { finish(); }
  ExpertStream(const ExpertStream&) = delete;
  ExpertStream& operator=(const ExpertStream&) = delete;

  // Those that have come since the last call; waits until there is one. Use::kToken: in any order,
  // and all stay in place until finish(). Use::kScan: in the order of the ids; what an earlier call
  // handed out may be gone. Empty: all have been handed out. kIo and kBadFile as the disk reports
  // them, naming the file; the stream has ended then.
  Result<std::span<const Ready>> next();
  // The experts may leave from now on.
  void finish();

  // How begin() reads it, and whether nothing needs to be read: next() then hands out all at once,
  // in the order of the ids.
  Use use() const { return use_; }
  bool all_here() const { return held_.empty(); }

 private:
  friend class ExpertCache;
  ExpertCache* cache_ = nullptr;  // nullptr: nothing is held
  int32_t first_key_ = 0;
  Use use_ = Use::kToken;
  std::chrono::steady_clock::time_point begun_;
  std::vector<int32_t> ids_;
  std::vector<uint8_t> lasting_;  // kScan: this expert is used like a token's
  std::vector<uint8_t> held_;     // per id: pinned
  std::vector<uint8_t> given_;    // per id: handed out
  size_t asked_ = 0;              // kScan: ids before this one have been asked for
  size_t handed_ = 0;             // ids handed out; in kScan the first ones
  size_t released_ = 0;           // kScan: ids before this one are no longer held
  std::vector<Ready> ready_;
};

class ExpertCache {
 public:
  // A table without layers needs no queue. kTooLarge when there is less memory than
  // SlotArena::least_bytes().
  static Result<std::unique_ptr<ExpertCache>> create(ExpertTable table,
                                                     std::unique_ptr<storage::ReadQueue> queue,
                                                     const CacheOptions& options);
  ~ExpertCache();

  // Begins a layer's part of a step: the experts `ids` (ascending, each once). A long list, or one
  // of many tokens, is best read as Use::kScan; `lasting` then says which experts the last tokens
  // use, to be kept like a token's (empty: none). A token's step that is too large to be held at
  // once is read as Use::kScan whose experts all last. Reading what is missing begins at once.
  void begin(int32_t layer, std::span<const int32_t> ids, Use use, std::span<const uint8_t> lasting,
             ExpertStream& stream);

  // From now on at most `bytes` for slots, within what use() names. Less comes between steps:
  // experts leave as the policy says, and their memory goes back to the system.
  void resize(uint64_t bytes);
  ArenaUse use() const;

  // For another tier, which holds experts that have no slot here; called by the computing thread.
  // lend: the parts of an expert that is in memory, which stays until keep() (it goes on being
  // here) or leave() (it is elsewhere from now on, its slot is free); nullopt: it is not here.
  // moved: the expert is elsewhere, whether it is still here or not. take: a slot for an expert
  // that comes back, whose bytes are there when arrive() is called; nullopt: there is no slot that
  // somebody could leave.
  std::optional<ExpertParts> lend(int32_t key);
  void keep(int32_t key);
  void leave(int32_t key);
  void moved(int32_t key);
  std::optional<std::array<uint8_t*, kParts>> take(int32_t key);
  void arrive(int32_t key);

  const ExpertTable& table() const { return table_; }
  int32_t key(int32_t layer, int32_t expert) const {
    return first_key_[static_cast<size_t>(layer)] + expert;
  }
  int32_t layer_of(int32_t key) const { return layer_of_[static_cast<size_t>(key)]; }
  std::span<uint8_t> arena() { return arena_.memory(); }

  // From now on the disk's idle time fills free slots: first with the experts `first` (layer after
  // layer, counted from 0), which are kept like a token's, then with the `others`; each in the
  // order of the files.
  void fill(std::span<const int32_t> first = {}, bool others = true);
  // Waits for fill(). The error of a read that failed.
  Status wait_until_full();
  bool complete() const { return complete_.load(std::memory_order_acquire); }

  // Every begin() is recorded from now on; nullptr ends that. `trace` must outlive its use.
  void record_to(TraceWriter* trace) { trace_ = trace; }
  // The same for when it was, and what came and left. What is here has come when it begins.
  void record_to(Timeline* timeline);
  // How often each expert was asked for, layer after layer.
  std::vector<uint32_t> uses() const;
  // Experts that another tier holds count as the device's; their uses are to be added by it. Holds
  // the computation up for the time that copying a byte per expert takes.
  void take_census(Census& census) const;

  uint64_t bytes() const { return use().aim; }              // of the slots that may be used
  uint64_t expert_bytes() const { return table_.bytes(); }  // of all experts
  int64_t slots() const;                                    // likewise
  int64_t experts() const { return static_cast<int64_t>(entries_.size()); }
  CacheStatistics statistics() const;

 private:
  friend class ExpertStream;

  enum class State : uint8_t { kAbsent, kLoading, kReady, kElsewhere };
  struct Entry {
    State state = State::kAbsent;
    bool failed = false;  // a part did not come
    uint8_t parts_left = 0;
    uint8_t came = 0;       // a bit per part that was read since the expert was last pushed out
    bool expected = false;  // read ahead for the next layer of a sweep: stays until that is here
    int32_t pins = 0;
    int32_t slot = -1;                    // of its class
    std::array<uint64_t, kParts> sums{};  // checksums, 0: never read
    ExpertParts parts{};
  };
  // What is kept for each size class of the arena.
  struct Class {
    int64_t pinned = 0;
    std::unique_ptr<Eviction> order;
  };

  ExpertCache(ExpertTable table, const CacheOptions& options)
      : table_(std::move(table)), options_(options) {}
  Status lay_out(uint32_t alignment);

  size_t class_of(int32_t key) const {
    return arena_.class_of_layer(static_cast<size_t>(layer_of_[static_cast<size_t>(key)]));
  }
  const ByteRange& range(int32_t key, int part) const;
  void pin(int32_t key);
  void unpin(int32_t key);
  bool reserve(int32_t key, Use use);
  void load(int32_t key, std::vector<Transfer>& to);
  void drop(int32_t key);
  bool evict(size_t size_class);
  void settle(int streams);
  void note_complete();
  void send_away(int32_t key);
  void place_parts(int32_t key);
  void end_expectations();
  void read_ahead(int in_flight, std::vector<Transfer>& to);
  void ask(ExpertStream& stream);
  void release(ExpertStream& stream, size_t end);
  Result<std::span<const ExpertStream::Ready>> next(ExpertStream& stream);
  void arrived(const Transfer& transfer, Status status);
  Status verify(Entry& entry, const Transfer& transfer, uint64_t sum);

  const ExpertTable table_;
  const CacheOptions options_;
  std::vector<int32_t> first_key_;  // of a layer
  std::vector<int32_t> layer_of_;   // of a key
  TraceWriter* trace_ = nullptr;
  std::atomic<Timeline*> timeline_{nullptr};
  std::vector<uint8_t> here_;  // of a begin() that is recorded: which experts are in memory
  std::vector<std::atomic<uint32_t>> uses_;  // by key; the computing thread counts

  mutable std::mutex mutex_;
  SlotArena arena_;
  std::vector<Class> classes_;
  std::condition_variable changed_;  // an expert came, or did not
  std::vector<Entry> entries_;       // by key: first_key_[layer] + expert
  std::vector<Transfer> wanted_;     // collected before they are handed to the queue
  int64_t ready_ = 0;                // experts in memory
  int64_t elsewhere_ = 0;            // experts that another tier holds
  std::vector<int32_t> away_;        // the same by layer
  uint64_t arrivals_ = 0;
  std::chrono::steady_clock::time_point last_begin_;
  int32_t sweep_layer_ = -1;         // what a sweep will need next; -1: none is under way
  int32_t sweep_expert_ = 0;         // of it: those before have been looked at
  int64_t expected_ = 0;             // experts that are held for it
  std::vector<int32_t> fill_order_;  // keys
  size_t filled_ = 0;                // of fill_order_: those before have been looked at
  size_t fill_first_ = 0;            // of fill_order_: those before are kept like a token's
  Status last_failure_;
  // All experts are in memory and stay: no lock is needed. A stream counts itself before it looks,
  // and who ends this looks at the count afterwards, so that one of them sees the other.
  std::atomic<bool> complete_{false};
  std::atomic<int> streams_{0};

  // Counted by the computing thread.
  std::atomic<uint64_t> requests_{0}, hits_{0}, loads_{0}, evictions_{0};
  std::atomic<int64_t> stalled_ns_{0}, held_ns_{0};
  std::atomic<uint64_t> bytes_again_{0};
  std::atomic<uint64_t> bytes_while_stalled_{0};

  std::unique_ptr<TransferQueue> transfers_;  // last: its thread uses what is above
};

}  // namespace sluice::residency
