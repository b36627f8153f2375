// SPDX-License-Identifier: Apache-2.0
// Many requests at once on one model. Every slot holds one timeline; a step is one forward pass
// with the next tokens of all slots that have work, so that the experts of all are united, and each
// is read and computed once. What a request gets does not depend on what else is in the batch, bit
// for bit. The slots' texts are the prompt cache: a request begins where the longest common
// beginning with a text of its owner ends, in whichever slot that is.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/answer.h"
#include "engine/lookahead.h"
#include "engine/session.h"

namespace sluice::engine {

struct SchedulerOptions {
  int slots = 1;
  size_t waiting = 64;                      // most requests in the queue
  CheckpointOptions checkpoints{0, 0, -1};  // of all slots together
  // Most tokens guessed at once while one request is alone, where the model can.
  int64_t guesses = 3;
};

struct SlotStatus {
  bool busy = false;
  int64_t held_tokens = 0;  // of the text that the slot holds
  int64_t prompt_tokens = 0, generated_tokens = 0, max_tokens = -1;  // of the request in it
};

// Of a forward pass that read nothing but answers' tokens.
struct TokenStep {
  std::chrono::nanoseconds whole{0};
  std::chrono::nanoseconds experts{0};  // of it: computing experts in main memory, and waiting
  std::chrono::nanoseconds waiting{0};  // of these: waiting for the disk
};

// Since the start.
struct SchedulerStatistics {
  uint64_t prompt_tokens = 0;  // read
  uint64_t reused_tokens = 0;
  uint64_t generated_tokens = 0;                    // by requests that ended
  uint64_t sampled_tokens = 0;                      // by all
  double prompt_seconds = 0, generate_seconds = 0;  // of all requests that ended
  uint64_t steps = 0;                               // forward passes
  uint64_t slots_in_steps = 0;                      // sum over these
  uint64_t requests = 0, failed = 0, cancelled = 0, refused = 0;
  int64_t most_tokens = 0;  // longest text that a slot held
  size_t waiting = 0, active = 0;
  residency::DeviceTierStatistics device;
  std::optional<TokenStep> last_token;
};

class Scheduler {
 public:
  // `engine` must outlive it, and nobody else may compute on it meanwhile.
  static Result<std::unique_ptr<Scheduler>> create(Engine& engine, const SchedulerOptions& options);
  // As stop().
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // kUsage and kTooLarge for what can never be answered; kBusy when too many wait already. The
  // listener is called in all other cases. Safe from any thread, not from a listener.
  Result<std::shared_ptr<Ticket>> submit(Request request, Listener listener);

  // What a slot without a request holds leaves it, comes into it, and goes; between two forward
  // passes, which these wait for. kUsage for a slot that is not there, kBusy while it has a
  // request, kNotFound where its text is another owner's; load_slot() also what Session::load()
  // says, with nothing changed. erase_slot() returns how many tokens that were. Safe from any
  // thread, not from a listener.
  Result<Session::Saved> save_slot(int64_t slot, const std::string& owner);
  Status load_slot(int64_t slot, const std::string& owner, Session::Saved saved);
  Result<int64_t> erase_slot(int64_t slot, const std::string& owner);

  // Ends all requests as cancelled, and the thread. Later requests are refused as kCancelled.
  void stop();

  int slots() const { return static_cast<int>(slots_.size()); }
  int64_t context() const { return engine_->context(); }
  std::vector<SlotStatus> status() const;
  SchedulerStatistics statistics() const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Job {
    Answer answer;
    Listener listener;
    std::shared_ptr<Ticket> ticket;
    RequestFigures figures;
    Clock::time_point submitted, started{}, first_token{};
    bool alone = false;  // after a step that failed: to find out whose fault it was
  };
  struct Slot {
    Session session;
    std::unique_ptr<Job> job;  // nullptr: free
    std::string owner;         // of the text
    uint64_t used = 0;         // when: number of the request
    // While it has read ahead, the session is not to be used.
    std::unique_ptr<Lookahead> ahead;
  };
  // Something to be done between two forward passes, which somebody waits for.
  struct Errand {
    std::function<Status()> run;
    std::promise<Status> done;
  };
  // What forward passes have done with experts, and when.
  struct Pass {
    Clock::time_point at;
    residency::CacheStatistics cache;
    uint64_t device_hits = 0;
  };

  Scheduler(Engine& engine, const SchedulerOptions& options)
      : engine_(&engine), options_(options) {}
  Result<std::shared_ptr<Ticket>> enqueue(Request request, Listener listener);
  Status between_steps(std::function<Status()> run);
  Status with_slot(int64_t slot, const std::string& owner, const std::function<Status(Slot&)>& run);
  void run_errands();
  void work();
  void admit();
  std::unique_ptr<Job> next_job(size_t& slot);
  size_t choose_slot(const Job& job, bool& wait) const;
  void begin(Slot& slot, std::unique_ptr<Job> job);
  void step();
  Pass passes() const;
  void count(std::span<Slot* const> slots, const Pass& before, bool only_tokens);
  bool can_read_ahead(const Slot& slot) const;
  void read_ahead(Slot& slot);
  void settle(Slot& slot);
  void read(Slot& slot, std::span<const text::Token> piece, std::span<const float> logits);
  void sample(Slot& slot, std::span<float> logits);
  void finish(Slot& slot, Outcome outcome);
  void end(Job& job, Outcome outcome);
  void fail_all(const Error& error);
  void publish();

  Engine* engine_;
  SchedulerOptions options_;
  std::vector<Slot> slots_;  // the thread's
  uint64_t jobs_begun_ = 0;
  std::vector<float> logits_;
  std::unique_ptr<DraftPolicy> drafts_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::vector<std::shared_ptr<Errand>> errands_;
  std::vector<SlotStatus> status_;
  SchedulerStatistics statistics_;
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace sluice::engine
