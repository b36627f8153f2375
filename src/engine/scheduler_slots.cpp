// SPDX-License-Identifier: Apache-2.0
// What slots hold, saved, restored and erased between forward passes.
#include <utility>

#include "base/no_memory.h"
#include "engine/scheduler.h"

namespace sluice::engine {

Status Scheduler::between_steps(std::function<Status()> run) {
  return or_no_memory([&]() -> Status {
    const auto errand = std::make_shared<Errand>();
    errand->run = std::move(run);
    std::future<Status> done = errand->done.get_future();
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return fail(ErrorKind::kCancelled, "the server is shutting down");
      errands_.push_back(errand);
    }
    wake_.notify_one();
    return done.get();
  });
}

// On the thread. Behind the end nothing is done any more, but those who wait are told.
void Scheduler::run_errands() {
  std::vector<std::shared_ptr<Errand>> errands;
  bool stop = false;
  {
    const std::lock_guard lock(mutex_);
    errands.swap(errands_);
    stop = stop_;
  }
  for (const auto& errand : errands) {
    Status done = stop ? fail(ErrorKind::kCancelled, "the server is shutting down")
                       : or_no_memory(errand->run);
    publish();
    errand->done.set_value(std::move(done));
  }
}

Status Scheduler::with_slot(int64_t slot, const std::string& owner,
                            const std::function<Status(Slot&)>& run) {
  if (slot < 0 || slot >= slots())
    return fail(ErrorKind::kUsage, "there is no slot {}: use one from 0 to {}", slot, slots() - 1);
  return between_steps([&]() -> Status {
    Slot& found = slots_[static_cast<size_t>(slot)];
    if (found.job)
      return fail(ErrorKind::kBusy, "slot {} is answering a request: try again when it has ended",
                  slot);
    if (found.session.length() > 0 && found.owner != owner)
      return fail(ErrorKind::kNotFound,
                  "slot {} holds no text of this API key: use a slot of its requests", slot);
    settle(found);
    return run(found);
  });
}

Result<Session::Saved> Scheduler::save_slot(int64_t slot, const std::string& owner) {
  std::optional<Session::Saved> saved;
  SLUICE_TRY(with_slot(slot, owner, [&](Slot& found) -> Status {
    SLUICE_ASSIGN(saved, found.session.save());
    return {};
  }));
  return std::move(*saved);
}

Status Scheduler::load_slot(int64_t slot, const std::string& owner, Session::Saved saved) {
  return with_slot(slot, owner, [&](Slot& found) -> Status {
    found.owner = owner;  // first: no text is ever under another's name
    SLUICE_TRY(found.session.load(std::move(saved)));
    found.used = ++jobs_begun_;  // the next request without a beginning here takes another slot
    return {};
  });
}

Result<int64_t> Scheduler::erase_slot(int64_t slot, const std::string& owner) {
  int64_t erased = 0;
  SLUICE_TRY(with_slot(slot, owner, [&](Slot& found) -> Status {
    erased = found.session.length();
    found.session.truncate(0);
    return {};
  }));
  return erased;
}

}  // namespace sluice::engine
