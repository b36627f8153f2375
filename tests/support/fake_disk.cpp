// SPDX-License-Identifier: Apache-2.0
#include "support/fake_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace sluice::storage {

FakeDisk::FakeDisk(std::vector<File> files, const FakeDiskOptions& options)
    : options_(options), files_(std::move(files)), random_(options.seed) {
  for (const File& file : files_) opened_bytes_.push_back(file.content.size());
}

void FakeDisk::fail_read(uint64_t k, int error) {
  const std::lock_guard lock(mutex_);
  faults_[k].error = error;
}

void FakeDisk::shorten_read(uint64_t k, uint32_t bytes) {
  const std::lock_guard lock(mutex_);
  faults_[k].short_bytes = bytes;
}

void FakeDisk::stall_read(uint64_t k, std::chrono::nanoseconds duration) {
  const std::lock_guard lock(mutex_);
  faults_[k].stall = duration;
}

void FakeDisk::hang_read(uint64_t k) {
  const std::lock_guard lock(mutex_);
  faults_[k].hang = true;
}

void FakeDisk::hold() {
  const std::lock_guard lock(mutex_);
  held_ = true;
}

void FakeDisk::release() {
  {
    const std::lock_guard lock(mutex_);
    held_ = false;
    for (UnderWay& read : under_way_) read.fault.hang = false;
  }
  changed_.notify_all();
}

void FakeDisk::truncate(int file, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  std::vector<uint8_t>& content = files_[file].content;
  content.resize(std::min<size_t>(content.size(), bytes));
}

void FakeDisk::flip_bit(int file, uint64_t byte) {
  const std::lock_guard lock(mutex_);
  files_[file].content[byte] ^= 1;
}

std::chrono::nanoseconds FakeDisk::now() const {
  const std::lock_guard lock(mutex_);
  return now_;
}

std::vector<Read> FakeDisk::taken() const {
  const std::lock_guard lock(mutex_);
  return taken_;
}

int FakeDisk::in_flight() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(under_way_.size());
}

std::chrono::nanoseconds FakeDisk::delay() {
  const auto span = static_cast<uint64_t>((options_.slowest - options_.fastest).count()) + 1;
  return options_.fastest + std::chrono::nanoseconds(random_() % span);
}

size_t FakeDisk::submit(std::span<const Read> reads) {
  const std::lock_guard lock(mutex_);
  size_t count = 0;
  for (const Read& read : reads) {
    if (under_way_.size() == static_cast<size_t>(options_.depth)) break;
    SLUICE_CHECK(read.file >= 0 && static_cast<size_t>(read.file) < files_.size(), "unknown file");
    SLUICE_CHECK(read.needed >= 1 && read.needed <= read.bytes, "needed bytes within the read");
    const uint64_t bits = read.offset | read.bytes | reinterpret_cast<uintptr_t>(read.to);
    SLUICE_CHECK(bits % options_.alignment == 0, "offset, bytes and target are aligned");
    std::memset(read.to, kNotYet, read.bytes);
    UnderWay under_way{.progress = {.read = read}};
    if (const auto planted = faults_.find(taken_.size()); planted != faults_.end()) {
      under_way.fault = planted->second;
    }
    under_way.due = now_ + delay() + under_way.fault.stall;
    under_way_.push_back(under_way);
    taken_.push_back(read);
    ++count;
  }
  return count;
}

FakeDisk::UnderWay* FakeDisk::next() {
  UnderWay* found = nullptr;
  if (held_) return found;
  for (UnderWay& read : under_way_) {
    if (!read.fault.hang && (found == nullptr || read.due < found->due)) found = &read;
  }
  return found;
}

bool FakeDisk::answer(UnderWay& under_way, std::vector<Completion>& out) {
  ReadProgress& progress = under_way.progress;
  const File& file = files_[progress.read.file];
  int64_t result = -under_way.fault.error;
  if (result == 0) {
    const uint64_t size = file.content.size();
    uint64_t bytes = std::min<uint64_t>(progress.bytes(), size - std::min(size, progress.offset()));
    if (under_way.fault.short_bytes > 0) {
      bytes = std::min<uint64_t>(bytes, std::exchange(under_way.fault.short_bytes, 0));
    }
    if (bytes > 0) std::memcpy(progress.to(), file.content.data() + progress.offset(), bytes);
    result = static_cast<int64_t>(bytes);
  }
  Status status;
  switch (progress.advance(result, options_.alignment)) {
    case ReadProgress::Step::kAgain:
      under_way.due = now_ + delay();
      return false;
    case ReadProgress::Step::kDone:
      break;
    case ReadProgress::Step::kEnd:
      status = file_ended(file.name, opened_bytes_[progress.read.file], progress.end());
      break;
    case ReadProgress::Step::kFailed:
      status = read_refused(file.name, progress.offset(), progress.bytes(), under_way.fault.error);
      break;
  }
  out.push_back({progress.read.id, std::move(status)});
  return true;
}

void FakeDisk::wait(std::vector<Completion>& out, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const std::chrono::nanoseconds deadline = now_ + timeout;
  for (;;) {
    if (std::exchange(woken_, false)) return;
    UnderWay* read = next();
    if (read == nullptr) {
      const bool change =
          changed_.wait_for(lock, timeout, [this] { return woken_ || next() != nullptr; });
      if (!change) return;
      continue;
    }
    if (read->due > deadline) {
      now_ = deadline;
      return;
    }
    now_ = std::max(now_, read->due);
    if (answer(*read, out)) {
      under_way_.erase(under_way_.begin() + (read - under_way_.data()));
      return;
    }
  }
}

void FakeDisk::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_all();
}

}  // namespace sluice::storage
