// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "base/no_memory.h"

namespace sluice::engine {
namespace {

// Tokens of common beginning from which it is worth waiting for another slot to have read them.
constexpr int64_t kWorthWaiting = 64;

double seconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

int64_t common_beginning(std::span<const text::Token> a, std::span<const text::Token> b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

Result<std::unique_ptr<Scheduler>> Scheduler::create(Engine& engine,
                                                     const SchedulerOptions& options) {
  if (options.slots < 1) return fail(ErrorKind::kUsage, "slots: must be at least 1");
  std::unique_ptr<Scheduler> scheduler(new Scheduler(engine, options));
  CheckpointOptions checkpoints = options.checkpoints;
  checkpoints.bytes /= static_cast<uint64_t>(options.slots);
  for (int n = 0; n < options.slots; ++n) {
    SLUICE_ASSIGN(Session session, Session::create(engine));
    session.keep_checkpoints(checkpoints);
    scheduler->slots_.push_back(Slot{std::move(session), nullptr, "", 0, nullptr});
  }
  if (options.guesses > 0 && engine.model().can_draft()) {
    scheduler->drafts_ = std::make_unique<DraftPolicy>(options.guesses);
    for (Slot& slot : scheduler->slots_)
      slot.ahead = std::make_unique<Lookahead>(slot.session, scheduler->drafts_.get());
  }
  scheduler->status_.resize(scheduler->slots_.size());
  scheduler->thread_ = std::thread([raw = scheduler.get()] { raw->work(); });
  return scheduler;
}

Scheduler::~Scheduler() {
  stop();
}

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<std::shared_ptr<Ticket>> Scheduler::submit(Request request, Listener listener) {
  return or_no_memory([&] { return enqueue(std::move(request), std::move(listener)); });
}

Result<std::shared_ptr<Ticket>> Scheduler::enqueue(Request request, Listener listener) {
  SLUICE_ASSIGN(Answer answer, Answer::create(*engine_, std::move(request), context()));
  auto ticket = std::make_shared<Ticket>();
  auto job =
      std::make_unique<Job>(Job{std::move(answer), std::move(listener), ticket, {}, Clock::now()});
  job->figures.prompt_tokens = job->answer.prompt_size();
  {
    const std::lock_guard lock(mutex_);
    if (stop_) return fail(ErrorKind::kCancelled, "the server is shutting down");
    if (queue_.size() >= options_.waiting) {
      ++statistics_.refused;
      return fail(ErrorKind::kBusy, "{} requests are waiting already: try again later",
                  queue_.size());
    }
    queue_.push_back(std::move(job));
    ++statistics_.requests;
  }
  wake_.notify_one();
  return ticket;
}

// --- the thread ---

void Scheduler::work() {
  const auto active = [this] {
    return std::ranges::any_of(slots_, [](const Slot& slot) { return slot.job != nullptr; });
  };
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || !queue_.empty() || !errands_.empty() || active(); });
      if (stop_) break;
    }
    run_errands();
    const Status done = or_no_memory([this]() -> Status {
      admit();
      publish();
      step();
      return {};
    });
    if (!done) fail_all(done.error());
    publish();
  }
  for (Slot& slot : slots_)
    if (slot.job) finish(slot, {FinishReason::kCancelled, {}, {}, {}});
  std::deque<std::unique_ptr<Job>> left;
  {
    const std::lock_guard lock(mutex_);
    left.swap(queue_);
  }
  for (const auto& job : left) end(*job, {FinishReason::kCancelled, {}, {}, {}});
  publish();
  run_errands();
}

// No memory left outside of what the engine does: whose step it was is not known any more.
void Scheduler::fail_all(const Error& error) {
  for (Slot& slot : slots_) {
    if (!slot.job) continue;
    slot.session.lost();
    finish(slot, {{}, {}, error, {}});
  }
}

void Scheduler::publish() {
  const std::lock_guard lock(mutex_);
  statistics_.active = 0;
  for (size_t n = 0; n < slots_.size(); ++n) {
    const Slot& slot = slots_[n];
    SlotStatus& status = status_[n] = {};
    status.busy = slot.job != nullptr;
    status.held_tokens = slot.session.length();
    statistics_.most_tokens = std::max(statistics_.most_tokens, status.held_tokens);
    if (!slot.job) continue;
    ++statistics_.active;
    status.prompt_tokens = slot.job->answer.prompt_size();
    status.generated_tokens = slot.job->answer.generated();
    status.max_tokens = slot.job->answer.request().max_tokens;
  }
}

std::vector<SlotStatus> Scheduler::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

SchedulerStatistics Scheduler::statistics() const {
  const std::lock_guard lock(mutex_);
  SchedulerStatistics statistics = statistics_;
  statistics.waiting = queue_.size();
  return statistics;
}

// --- from the queue into slots ---

// The free slot that is best for the job. `wait`: another one is reading what this job will need.
size_t Scheduler::choose_slot(const Job& job, bool& wait) const {
  const std::span<const text::Token> tokens = job.answer.tokens();
  const Request& request = job.answer.request();
  size_t oldest = slots_.size();
  size_t best = slots_.size();
  int64_t best_common = 0;
  int64_t coming = 0;
  for (size_t n = 0; n < slots_.size(); ++n) {
    const Slot& slot = slots_[n];
    const bool related = request.reuse && slot.owner == request.owner;
    if (slot.job) {
      const int64_t held = slot.session.length();
      if (related && slot.job->answer.generated() == 0 && held < slot.job->answer.prompt_size())
        coming = std::max(coming, common_beginning(slot.job->answer.tokens(), tokens));
      continue;
    }
    if (oldest == slots_.size() || slot.used < slots_[oldest].used) oldest = n;
    const int64_t common = related ? slot.session.common(tokens) : 0;
    // A text of which only a small part would be kept serves better as what it is.
    if (common > best_common && 2 * common >= slot.session.length()) {
      best = n;
      best_common = common;
    }
  }
  wait = coming - best_common >= kWorthWaiting;
  return best < slots_.size() ? best : oldest;
}

// The next job that a slot is free for, or nullptr. Of owners with fewer requests under way first,
// then in the order of arrival.
std::unique_ptr<Scheduler::Job> Scheduler::next_job(size_t& chosen) {
  const bool any_free =
      std::ranges::any_of(slots_, [](const Slot& slot) { return slot.job == nullptr; });
  const std::lock_guard lock(mutex_);
  const auto under_way = [this](const std::string& owner) {
    return std::ranges::count_if(slots_,
                                 [&](const Slot& slot) { return slot.job && slot.owner == owner; });
  };
  auto best = queue_.end();
  std::ptrdiff_t least = 0;
  for (auto job = queue_.begin(); job != queue_.end(); ++job) {
    if ((*job)->ticket->cancelled()) {  // needs no slot
      best = job;
      chosen = slots_.size();
      break;
    }
    if (!any_free) continue;
    const std::ptrdiff_t share = under_way((*job)->answer.request().owner);
    if (best != queue_.end() && share >= least) continue;
    bool wait = false;
    const size_t slot = choose_slot(**job, wait);
    if (wait) continue;
    best = job;
    chosen = slot;
    least = share;
    if (share == 0) break;
  }
  if (best == queue_.end()) return nullptr;
  std::unique_ptr<Job> job = std::move(*best);
  queue_.erase(best);
  return job;
}

void Scheduler::admit() {
  size_t slot = 0;
  while (std::unique_ptr<Job> job = next_job(slot)) {
    if (slot == slots_.size())
      end(*job, {FinishReason::kCancelled, {}, {}, {}});
    else
      begin(slots_[slot], std::move(job));
  }
}

void Scheduler::begin(Slot& slot, std::unique_ptr<Job> begun) {
  slot.job = std::move(begun);               // first: whatever fails, the slot's job is told
  for (Slot& other : slots_) settle(other);  // their texts are looked at
  Job& job = *slot.job;
  job.started = Clock::now();
  job.figures.queue_seconds = seconds(job.started - job.submitted);
  for (Slot& other : slots_)
    if (other.job && &other != &slot) other.job->figures.alone = job.figures.alone = false;
  const Request& request = job.answer.request();
  const std::span<const text::Token> tokens = job.answer.tokens();
  slot.used = ++jobs_begun_;
  if (!request.reuse || slot.owner != request.owner) slot.session.truncate(0);
  slot.owner = request.owner;
  const auto prepare = [&]() -> Result<int64_t> {
    if (request.reuse) {
      const Slot* from = nullptr;
      int64_t most = 0;
      for (const Slot& other : slots_) {
        if (&other == &slot || other.owner != slot.owner) continue;
        const int64_t common = common_beginning(other.session.tokens(), tokens);
        if (common <= most) continue;
        most = common;
        from = &other;
      }
      if (from) SLUICE_TRY(slot.session.take_over(from->session, tokens));
    }
    return slot.session.begin(tokens);
  };
  auto kept = prepare();
  if (!kept) return finish(slot, {{}, {}, std::move(kept.error()), {}});
  slot.job->figures.reused_tokens = *kept;
  // The same prompt again: nothing is to be read.
  if (slot.session.length() == static_cast<int64_t>(tokens.size()))
    sample(slot, slot.session.logits());
}

// --- one forward pass ---

Scheduler::Pass Scheduler::passes() const {
  const residency::DeviceTier* tier = engine_->model().device_experts();
  return {Clock::now(), engine_->model().experts().statistics(),
          tier ? tier->statistics().hits : 0};
}

void Scheduler::count(std::span<Slot* const> slots, const Pass& before, bool only_tokens) {
  const Pass after = passes();
  for (Slot* slot : slots) {
    RequestFigures& figures = slot->job->figures;
    figures.experts_on_device += after.device_hits - before.device_hits;
    figures.experts += after.cache.requests - before.cache.requests;
    figures.experts_in_memory += after.cache.hits - before.cache.hits;
    figures.expert_bytes_read += after.cache.bytes_read - before.cache.bytes_read;
    figures.expert_wait_seconds += seconds(after.cache.stalled - before.cache.stalled);
  }
  const std::lock_guard lock(mutex_);
  ++statistics_.steps;
  statistics_.slots_in_steps += slots.size();
  if (const residency::DeviceTier* tier = engine_->model().device_experts())
    statistics_.device = tier->statistics();
  // A token that was guessed rightly before takes no pass.
  const bool passed =
      after.cache.requests > before.cache.requests || engine_->model().experts().experts() == 0;
  if (only_tokens && passed)
    statistics_.last_token = {after.at - before.at, after.cache.held - before.cache.held,
                              after.cache.stalled - before.cache.stalled};
}

// A prompt is read as a prompt, and what a failed step lost too.
bool Scheduler::can_read_ahead(const Slot& slot) const {
  return slot.ahead && slot.job->answer.generated() > 0 &&
         static_cast<int64_t>(slot.job->answer.tokens().size()) == slot.ahead->length() + 1;
}

void Scheduler::read_ahead(Slot& slot) {
  Job& job = *slot.job;
  const Request& request = job.answer.request();
  const int64_t most = request.max_tokens < 0 ? std::numeric_limits<int64_t>::max()
                                              : request.max_tokens - job.answer.generated() - 1;
  const int64_t guessed = slot.ahead->guessed(), right = slot.ahead->right();
  const Pass before = passes();
  Status done = slot.ahead->feed(job.answer.tokens().back(), most);
  job.figures.guessed_tokens += slot.ahead->guessed() - guessed;
  job.figures.right_guesses += slot.ahead->right() - right;
  Slot* const only[] = {&slot};
  count(only, before, done.has_value());
  if (done) return sample(slot, slot.ahead->logits());
  spdlog::warn("a forward pass failed: {}", done.error().message);
  finish(slot, {{}, {}, std::move(done.error()), {}});
}

void Scheduler::settle(Slot& slot) {
  if (!slot.ahead) return;
  if (const Status done = slot.ahead->settle(); !done)
    spdlog::warn("a forward pass failed: {}", done.error().message);  // what is left is read again
}

void Scheduler::step() {
  struct Work {
    Slot* slot;
    std::span<const text::Token> piece;
  };
  std::vector<Work> work;
  std::vector<Slot*> order;
  for (Slot& slot : slots_) {
    if (!slot.job) continue;
    const Request& request = slot.job->answer.request();
    if (slot.job->ticket->cancelled())
      finish(slot, {FinishReason::kCancelled, {}, {}, {}});
    else if (request.max_seconds > 0 && slot.job->answer.generated() > 0 &&
             seconds(Clock::now() - slot.job->first_token) > request.max_seconds)
      finish(slot, {FinishReason::kLength, {}, {}, {}});
    else
      order.push_back(&slot);
  }
  if (order.size() == 1 && can_read_ahead(*order[0])) return read_ahead(*order[0]);
  for (Slot* slot : order) settle(*slot);
  // Prompts share what the answers' tokens leave of a pass, in the order of arrival. The tokens
  // come last: of a pass with many rows the last ones' experts stay in memory (model/moe.cpp).
  const auto answering = [](const Slot* slot) { return slot->job->answer.generated() > 0; };
  std::ranges::sort(order, {}, [](const Slot* slot) { return slot->used; });
  if (const auto alone = std::ranges::find_if(order, [](auto* slot) { return slot->job->alone; });
      alone != order.end())
    order = {*alone};
  int64_t room =
      std::max<int64_t>(1, engine_->options().ubatch - std::ranges::count_if(order, answering));
  std::ranges::stable_partition(order, [&](const Slot* slot) { return !answering(slot); });
  for (Slot* slot : order) {
    const Answer& answer = slot->job->answer;
    // Also what an answer has to read again after a failed step counts.
    const auto left = static_cast<int64_t>(answer.tokens().size()) - slot->session.length();
    const bool is_token = answering(slot) && left == 1;
    if (!is_token && room == 0) continue;
    const auto piece =
        slot->session.next_piece(answer.tokens(), answer.request().turns, is_token ? 1 : room);
    if (!is_token) room -= std::min(room, static_cast<int64_t>(piece.size()));
    work.push_back({slot, piece});
  }
  if (work.empty()) return;

  const bool only_tokens = std::ranges::all_of(
      work, [&](const Work& w) { return answering(w.slot) && w.piece.size() == 1; });
  std::vector<model::Chunk> chunks;
  for (const Work& w : work) chunks.push_back(w.slot->session.chunk(w.piece));
  const Pass before = passes();
  Status done = engine_->model().forward(chunks, logits_);
  std::vector<Slot*> read_by;
  for (const Work& w : work) read_by.push_back(w.slot);
  count(read_by, before, only_tokens && done.has_value());
  if (!done) {
    spdlog::warn("a forward pass failed: {}", done.error().message);
    for (const Work& w : work) {
      w.slot->session.lost();
      // Of several, each is tried on its own: the others are not to suffer from one's experts.
      if (work.size() > 1)
        w.slot->job->alone = true;
      else
        finish(*w.slot, {{}, {}, done.error(), {}});
    }
    return;
  }
  const auto row = static_cast<size_t>(engine_->model().config().vocabulary);
  for (size_t i = 0; i < work.size(); ++i) {
    work[i].slot->job->alone = false;
    read(*work[i].slot, work[i].piece, std::span(logits_).subspan(i * row, row));
  }
}

void Scheduler::read(Slot& slot, std::span<const text::Token> piece,
                     std::span<const float> logits) {
  const Answer& answer = slot.job->answer;
  const int64_t end = slot.session.length();  // with the piece
  const auto& turns = answer.request().turns;
  const bool turn = end == answer.prompt_size() || std::ranges::find(turns, end) != turns.end();
  if (end <= answer.prompt_size()) {
    const std::lock_guard lock(mutex_);
    statistics_.prompt_tokens += piece.size();
  }
  if (Status took = slot.session.took(piece, logits, turn); !took)
    return finish(slot, {{}, {}, std::move(took.error()), {}});
  if (end == static_cast<int64_t>(answer.tokens().size())) sample(slot, slot.session.logits());
}

void Scheduler::sample(Slot& slot, std::span<float> logits) {
  Job& job = *slot.job;
  const auto reason = job.answer.step(logits);
  if (!reason) return finish(slot, {{}, {}, reason.error(), {}});
  const Clock::time_point now = Clock::now();
  if (job.answer.generated() <= 1) {
    job.first_token = now;
    job.figures.prompt_seconds = seconds(now - job.started);
    job.figures.first_token_seconds = seconds(now - job.submitted);
    job.figures.prompt_wait_seconds = job.figures.expert_wait_seconds;
  }
  job.figures.generate_seconds = seconds(now - job.first_token);
  {
    const std::lock_guard lock(mutex_);
    ++statistics_.sampled_tokens;
  }
  if (*reason) return finish(slot, {**reason, {}, {}, {}});
  Update update = job.answer.take(false);
  job.figures.generated_tokens = job.answer.generated();
  update.figures = job.figures;
  if (!update.text.empty() || !update.tokens.empty()) job.listener.update(update);
}

void Scheduler::finish(Slot& slot, Outcome outcome) {
  settle(slot);
  const std::unique_ptr<Job> job = std::move(slot.job);
  end(*job, std::move(outcome));
}

void Scheduler::end(Job& job, Outcome outcome) {
  job.figures.generated_tokens = job.answer.generated();
  if (job.started == Clock::time_point{})
    job.figures.queue_seconds = seconds(Clock::now() - job.submitted);
  {
    const std::lock_guard lock(mutex_);
    statistics_.reused_tokens += static_cast<uint64_t>(job.figures.reused_tokens);
    statistics_.generated_tokens += static_cast<uint64_t>(job.figures.generated_tokens);
    statistics_.prompt_seconds += job.figures.prompt_seconds;
    statistics_.generate_seconds += job.figures.generate_seconds;
    statistics_.failed += outcome.error ? 1 : 0;
    statistics_.cancelled += outcome.reason == FinishReason::kCancelled ? 1 : 0;
  }
  outcome.figures = job.figures;
  const Status told = or_no_memory([&]() -> Status {
    Update update = job.answer.take(true);
    update.figures = job.figures;
    if (!update.text.empty() || !update.tokens.empty()) job.listener.update(update);
    outcome.stop = job.answer.stop();
    return {};
  });
  if (!told) outcome.error = told.error();
  job.listener.end(outcome);
}

}  // namespace sluice::engine
