// SPDX-License-Identifier: Apache-2.0
// Many reads in flight. One thread owns a queue: it submits reads and waits for completions; only
// wake() may come from elsewhere. Implementations: io_uring, a pool of threads with pread, and a
// fake disk in tests.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "storage/window.h"

namespace sluice::storage {

// `offset`, `bytes` and `to` are multiples of the queue's alignment().
struct Read {
  int file = 0;         // index into the paths that the queue was opened with
  uint64_t offset = 0;  // bytes from the file's start
  uint32_t bytes = 0;   // what is asked of the disk, at least 1
  uint32_t needed = 0;  // 1..bytes: what must be there; the padding behind may lie past the end
  uint8_t* to = nullptr;
  uint64_t id = 0;  // given back with the completion; the queue does not look at it
};

// Reads the whole window to the slot at `to` (aligned): the wanted bytes are at to + window.phase.
inline Read read_window(const Window& window, int file, uint8_t* to, uint64_t id) {
  return {.file = file,
          .offset = window.offset,
          .bytes = window.bytes,
          .needed = window.needed,
          .to = to,
          .id = id};
}

// When `status` is good, the first `needed` bytes are in place; what the padding holds is unknown.
// kIo: the system refused; the message has file, offset and its reason. kBadFile: the file ends
// before the needed bytes, or was written to since it was opened.
struct Completion {
  uint64_t id = 0;
  Status status;
};

// Disks that want more are read buffered: memory is aligned to pages.
inline constexpr uint32_t kMaxAlignment = 4096;

class ReadQueue {
 public:
  // Waits for the reads in flight: until then the system writes to their memory.
  virtual ~ReadQueue() = default;

  // Starts reads in the order given and returns how many were taken: fewer than all when depth()
  // are in flight. Reads that were taken complete in any order, each exactly once, with an error
  // too. There is no taking back: what should stay cancellable is kept by the caller.
  virtual size_t submit(std::span<const Read> reads) = 0;

  // Reads taken whose completions have not been given out. At most depth().
  virtual int in_flight() const = 0;
  virtual int depth() const = 0;

  // Appends what has completed to `out`. Returns when there is at least one completion, after
  // `timeout`, or when wake() was called since the last wait(); also waits when nothing is in
  // flight.
  virtual void wait(std::vector<Completion>& out, std::chrono::milliseconds timeout) = 0;

  // Any thread, any time while the queue lives: ends the wait() under way or, if there is none, the
  // next one.
  virtual void wake() = 0;

  // Reads to this memory become cheaper where the system can pin it. False: it cannot (the limit of
  // locked memory, or not this engine), and reads work as before. Replaces what was registered
  // before; an empty span only ends that. Registered memory is resident from now on, and must be
  // neither unmapped nor discarded (madvise) before that ends: reads would land in pages that the
  // process no longer sees. Not while reads are in flight.
  virtual bool register_memory(std::span<uint8_t> memory) = 0;

  // Of offset, bytes and target of every read; a power of two up to kMaxAlignment, 1 in buffered
  // mode.
  virtual uint32_t alignment() const = 0;
  // Past the page cache (O_DIRECT).
  virtual bool direct() const = 0;
  // "io_uring", "pread"; tests have their own.
  virtual std::string_view name() const = 0;
};

enum class ReadMode {
  kAuto,      // direct where every file's disk can, else buffered
  kDirect,    // kUnsupported where a file's disk cannot
  kBuffered,  // through the page cache: where the model fits in memory
};

enum class ReadEngine {
  kAuto,     // io_uring where the system allows it, else pread
  kIoUring,  // kUnsupported where the system does not
  kPread,
};

struct ReadQueueOptions {
  ReadMode mode = ReadMode::kAuto;
  ReadEngine engine = ReadEngine::kAuto;
  int depth = 16;  // 1..kMaxDepth
};

inline constexpr int kMaxDepth = 256;

// Opens the files anew, so that they live as long as the queue. kNotFound, kIo and kBadFile as
// File::open() has them; kUsage for a depth out of range.
Result<std::unique_ptr<ReadQueue>> open_read_queue(const std::vector<std::string>& paths,
                                                   const ReadQueueOptions& options = {});

}  // namespace sluice::storage
