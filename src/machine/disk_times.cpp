// SPDX-License-Identifier: Apache-2.0
#include "machine/disk_times.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include "base/aligned_buffer.h"
#include "storage/file.h"

namespace sluice::machine {
namespace {

using Clock = std::chrono::steady_clock;

// In parts; an expert has three.
constexpr int kBatches[] = {3, 6, 12, 24, 48};
constexpr uint64_t kFileBytes = uint64_t{192} << 20;

class Batches {
 public:
  Batches(storage::ReadQueue& queue, std::vector<uint64_t> sizes, const DiskOptions& options)
      : queue_(queue), sizes_(std::move(sizes)), options_(options) {}

  bool allocate(int most) {
    slot_bytes_ = storage::slot_bytes(options_.part_bytes, storage::kMaxAlignment);
    memory_ = AlignedBuffer::allocate(slot_bytes_ * static_cast<uint64_t>(most));
    if (memory_) std::memset(memory_.data(), 0, memory_.size());  // the reads pay for no pages
    return static_cast<bool>(memory_);
  }

  Result<double> seconds(int parts) {
    std::vector<storage::Read> reads;
    for (int i = 0; i < parts; ++i) {
      const auto file = static_cast<size_t>(random_() % sizes_.size());
      const uint64_t alignment = queue_.alignment();
      const uint64_t places = (sizes_[file] - options_.part_bytes) / alignment;
      const storage::Window window = storage::enclosing_window(
          random_() % places * alignment, options_.part_bytes, queue_.alignment());
      for (uint32_t p = 0; p < storage::piece_count(window, options_.piece_bytes); ++p)
        reads.push_back(storage::read_window(
            storage::piece(window, p, options_.piece_bytes), static_cast<int>(file),
            memory_.data() + slot_bytes_ * static_cast<uint64_t>(i) +
                uint64_t{p} * options_.piece_bytes,
            0));
    }
    const Clock::time_point start = Clock::now();
    size_t sent = 0, done = 0;
    Status failed;
    while (done < reads.size()) {
      if (failed) sent += queue_.submit(std::span(reads).subspan(sent));
      if (!failed && queue_.in_flight() == 0) return fail(std::move(failed.error()));
      arrived_.clear();
      queue_.wait(arrived_, std::chrono::milliseconds(100));
      for (storage::Completion& completion : arrived_)
        if (!completion.status && failed) failed = std::move(completion.status);
      done += arrived_.size();
    }
    if (!failed) return fail(std::move(failed.error()));
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

 private:
  storage::ReadQueue& queue_;
  std::vector<uint64_t> sizes_;
  DiskOptions options_;
  uint64_t slot_bytes_ = 0;
  AlignedBuffer memory_;
  std::vector<storage::Completion> arrived_;
  std::mt19937_64 random_{static_cast<uint64_t>(Clock::now().time_since_epoch().count())};
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

Result<DiskTimes> measure_disk(const std::vector<std::string>& paths, const DiskOptions& options) {
  SLUICE_ASSIGN(const std::unique_ptr<storage::ReadQueue> queue,
                storage::open_read_queue(paths, {.mode = options.mode, .depth = options.depth}));
  DiskOptions used = options;
  used.part_bytes =
      std::max<uint32_t>(options.part_bytes / storage::kMaxAlignment, 1) * storage::kMaxAlignment;
  std::vector<uint64_t> sizes;
  for (const std::string& path : paths) {
    SLUICE_ASSIGN(const storage::File file, storage::File::open(path));
    if (file.size() < uint64_t{used.part_bytes} * 16) continue;
    sizes.push_back(file.size());
  }
  if (sizes.size() != paths.size())
    return fail(ErrorKind::kTooLarge, "{}: too small a file to measure the disk with",
                paths.front());
  Batches batches(*queue, std::move(sizes), used);
  if (!batches.allocate(*std::rbegin(kBatches)))
    return fail(ErrorKind::kTooLarge, "no memory to measure the disk with");
  DiskTimes disk;
  disk.bytes = used.part_bytes;
  disk.direct = queue->direct();
  disk.what =
      fmt::format("{}, {}, {} reads in flight", queue->name(),
                  disk.direct ? "past the page cache" : "through the page cache", options.depth);
  std::vector<std::vector<double>> samples(std::size(kBatches));
  const Clock::time_point start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  // Rounds over all sizes: a disturbance then rarely hits one of them each time.
  for (bool first = true; first || elapsed() < options.seconds; first = false) {
    for (size_t i = 0; i < std::size(kBatches); ++i) {
      SLUICE_ASSIGN(const double seconds, batches.seconds(kBatches[i]));
      samples[i].push_back(seconds);
    }
  }
  for (size_t i = 0; i < std::size(kBatches); ++i) {
    const double seconds = median(std::move(samples[i]));
    const double before = disk.times.empty() ? 0 : disk.times.back().seconds;
    disk.times.push_back({kBatches[i], std::max(seconds, before)});
  }
  return disk;
}

Result<DiskTimes> measure_disk_of_folder(const std::string& folder, const DiskOptions& options) {
  std::string path = folder + "/measure.XXXXXX";
  const auto failed = [&](int error) {
    return fail(ErrorKind::kIo, "{}: cannot be written to measure its disk: {}", folder,
                std::strerror(error));
  };
  const int descriptor = ::mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0) return failed(errno);
  struct Remove {
    int descriptor;
    const std::string& path;
    ~Remove() {
      ::close(descriptor);
      ::unlink(path.c_str());
    }
  } const remove{descriptor, path};
  // Not zeros: some disks do not store those.
  std::vector<uint64_t> piece(size_t{4} << 17);
  uint64_t state = 88172645463325252u;
  for (uint64_t at = 0; at < kFileBytes; at += piece.size() * 8) {
    for (uint64_t& word : piece) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      word = state;
    }
    for (size_t done = 0; done < piece.size() * 8;) {
      const ssize_t written = ::write(
          descriptor, reinterpret_cast<const char*>(piece.data()) + done, piece.size() * 8 - done);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return failed(written < 0 ? errno : ENOSPC);
      done += static_cast<size_t>(written);
    }
  }
  if (::fdatasync(descriptor) != 0) return failed(errno);
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  return measure_disk({path}, options);
}

}  // namespace sluice::machine
