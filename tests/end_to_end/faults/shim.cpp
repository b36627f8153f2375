// SPDX-License-Identifier: Apache-2.0
// A disk that fails, for a program that does not know it: preloaded (LD_PRELOAD), it answers reads
// of one file in the system's place. Set by the environment:
//   FAULT_FILE=PATH       the file; reads of others are not touched
//   FAULT_KIND=eio|short|stall|none
//   FAULT_AT=K            the reads of the file from the K-th on (from 0) ...
//   FAULT_COUNT=N         ... and N of them
//   FAULT_STALL_MS=MS     how long a stalled read takes
//   FAULT_ENGINE=pread    no io_uring for this process, so that all reads are pread()
//   FAULT_READS=PATH      a file that gets the number of reads of the file, when the process ends
// Reads through io_uring are faulty in the way that can be had by changing the request: "eio" is
// a read from no file (EBADF), "short" one of half as many bytes.
#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

enum class Kind { kNone, kRefuse, kShort, kStall };

struct Settings {
  Kind kind = Kind::kNone;
  long at = 0, count = 1, stall_ms = 500;
  dev_t device = 0;
  ino_t inode = 0;

  Settings() {
    const auto text = [](const char* name) {
      const char* value = std::getenv(name);
      return std::string(value ? value : "");
    };
    const auto number = [&](const char* name, long fallback) {
      const std::string value = text(name);
      return value.empty() ? fallback : std::strtol(value.c_str(), nullptr, 10);
    };
    const std::string kind_name = text("FAULT_KIND");
    if (kind_name == "eio") kind = Kind::kRefuse;
    if (kind_name == "short") kind = Kind::kShort;
    if (kind_name == "stall") kind = Kind::kStall;
    at = number("FAULT_AT", 0);
    count = number("FAULT_COUNT", 1);
    stall_ms = number("FAULT_STALL_MS", 500);
    struct stat status = {};
    if (::stat(text("FAULT_FILE").c_str(), &status) == 0) {
      device = status.st_dev;
      inode = status.st_ino;
    }
  }
};

const Settings& settings() {
  static const Settings all;
  return all;
}

bool is_the_file(int descriptor) {
  struct stat status = {};
  return ::fstat(descriptor, &status) == 0 && status.st_dev == settings().device &&
         status.st_ino == settings().inode && settings().inode != 0;
}

// Counts the reads, and tells how many there were.
struct Reads {
  std::atomic<long> count{0};
  ~Reads() {
    const char* path = std::getenv("FAULT_READS");
    const int file = path ? ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (file < 0) return;
    const std::string text = std::to_string(count.load());
    static_cast<void>(!::write(file, text.data(), text.size()));
    ::close(file);
  }
};

// What happens to the next read of this descriptor.
Kind next_fault(int descriptor) {
  static Reads reads;
  if (!is_the_file(descriptor)) return Kind::kNone;
  const long n = reads.count++;
  if (n < settings().at || n >= settings().at + settings().count) return Kind::kNone;
  return settings().kind;
}

void stall() {
  ::usleep(static_cast<useconds_t>(settings().stall_ms) * 1000);
}

template <typename Function>
Function original(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

ssize_t faulty_read(ssize_t (*read)(int, void*, size_t, off_t), int descriptor, void* to,
                    size_t bytes, off_t offset) {
  switch (next_fault(descriptor)) {
    case Kind::kRefuse:
      errno = EIO;
      return -1;
    case Kind::kShort:
      return read(descriptor, to, bytes > 1 ? (bytes / 2 + 4095) / 4096 * 4096 : bytes, offset);
    case Kind::kStall:
      stall();
      break;
    case Kind::kNone:
      break;
  }
  return read(descriptor, to, bytes, offset);
}

}  // namespace

extern "C" {

ssize_t pread(int descriptor, void* to, size_t bytes, off_t offset) {
  static const auto read = original<ssize_t (*)(int, void*, size_t, off_t)>("pread");
  return faulty_read(read, descriptor, to, bytes, offset);
}

ssize_t pread64(int descriptor, void* to, size_t bytes, off64_t offset) {
  static const auto read = original<ssize_t (*)(int, void*, size_t, off64_t)>("pread64");
  return faulty_read(read, descriptor, to, bytes, offset);
}

int io_uring_queue_init(unsigned entries, struct io_uring* ring, unsigned flags) {
  static const auto init =
      original<int (*)(unsigned, struct io_uring*, unsigned)>("io_uring_queue_init");
  const char* engine = std::getenv("FAULT_ENGINE");
  if (engine != nullptr && std::strcmp(engine, "pread") == 0) return -EPERM;
  return init(entries, ring, flags);
}

int io_uring_submit(struct io_uring* ring) {
  static const auto submit = original<int (*)(struct io_uring*)>("io_uring_submit");
  // The requests that the kernel has not been told of.
  for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; ++i) {
    struct io_uring_sqe& entry = ring->sq.sqes[i & ring->sq.ring_mask];
    switch (next_fault(entry.fd)) {
      case Kind::kRefuse:
        entry.fd = -1;
        break;
      case Kind::kShort:
        entry.len = (entry.len / 2 + 4095) / 4096 * 4096;
        break;
      case Kind::kStall:
        stall();
        break;
      case Kind::kNone:
        break;
    }
  }
  return submit(ring);
}
}
