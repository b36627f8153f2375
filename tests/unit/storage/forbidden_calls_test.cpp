// SPDX-License-Identifier: Apache-2.0
// Systems that forbid what is faster, played by a filter of system calls in a thread of its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <thread>

#include "base/aligned_buffer.h"
#include "storage/read_queue.h"
#include "temporary.h"

namespace sluice::storage {
namespace {

using testing::HasSubstr;

// From now on this thread's calls of `number` fail with `error`; if `bits` is not 0, only those
// with one of these bits in the third argument. False: filters are not allowed here.
bool forbid(uint32_t number, int error, uint32_t bits = 0) {
  const auto third_argument = static_cast<uint32_t>(offsetof(struct seccomp_data, args[2]));
  const uint32_t refuse = SECCOMP_RET_ERRNO | static_cast<uint32_t>(error);
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, third_argument),
      bits != 0 ? sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1)
                : sock_filter BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0),
      BPF_STMT(BPF_RET | BPF_K, refuse),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {.len = std::size(filter), .filter = filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

class ForbiddenCallsTest : public testing::Test {
 protected:
  void SetUp() override { write_file(path_, content(100'000)); }

  // In a thread that ends, and its filter with it.
  static void apart(const std::function<void()>& body) { std::thread(body).join(); }

  static Status read_some(ReadQueue& queue) {
    AlignedBuffer memory = AlignedBuffer::allocate(16384);
    const Read read =
        read_window(enclosing_window(5000, 6000, queue.alignment()), 0, memory.data(), 1);
    EXPECT_EQ(queue.submit({&read, 1}), 1u);
    std::vector<Completion> done = wait_for_all(queue);
    EXPECT_EQ(done.size(), 1u);
    if (done.empty()) return {};
    if (done[0].status) {
      EXPECT_EQ(memory.data()[5000 % queue.alignment()], byte_at(5000));
    }
    return std::move(done[0].status);
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_ / "a";
};

TEST_F(ForbiddenCallsTest, WithoutIoUringAPoolReads) {
  for (const int error : {EPERM, ENOSYS}) {
    apart([&] {
      if (!forbid(SYS_io_uring_setup, error)) GTEST_SKIP() << "no filters of system calls";
      const auto queue = open_read_queue({path_});
      ASSERT_TRUE(queue) << queue.error().message;
      EXPECT_EQ((*queue)->name(), "pread");
      const Status status = read_some(**queue);
      EXPECT_TRUE(status) << status.error().message;
      const auto insisted = open_read_queue({path_}, {.engine = ReadEngine::kIoUring});
      ASSERT_FALSE(insisted);
      EXPECT_EQ(insisted.error().kind, ErrorKind::kUnsupported);
      EXPECT_THAT(insisted.error().message, HasSubstr("no io_uring or forbids it"));
    });
  }
}

TEST_F(ForbiddenCallsTest, AKernelThatStopsTakingReadsIsAnError) {
  apart([&] {
    const auto queue = open_read_queue({path_});
    ASSERT_TRUE(queue) << queue.error().message;
    if ((*queue)->name() != "io_uring") GTEST_SKIP() << "no io_uring here";
    if (!forbid(SYS_io_uring_enter, EACCES)) GTEST_SKIP() << "no filters of system calls";
    for (int i = 0; i < 3; ++i) {
      const Status status = read_some(**queue);
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().kind, ErrorKind::kIo);
      EXPECT_THAT(status.error().message, HasSubstr("Permission denied"));
    }
  });
}

TEST_F(ForbiddenCallsTest, ABusyKernelIsAskedAgain) {
  apart([&] {
    const auto queue = open_read_queue({path_});
    ASSERT_TRUE(queue) << queue.error().message;
    if ((*queue)->name() != "io_uring") GTEST_SKIP() << "no io_uring here";
    if (!forbid(SYS_io_uring_enter, EAGAIN)) GTEST_SKIP() << "no filters of system calls";
    AlignedBuffer memory = AlignedBuffer::allocate(4096);
    const Read read = {.bytes = 4096, .needed = 4096, .to = memory.data()};
    EXPECT_EQ((*queue)->submit({&read, 1}), 1u);
    std::vector<Completion> done;
    (*queue)->wait(done, std::chrono::milliseconds(30));
    EXPECT_TRUE(done.empty());
    EXPECT_EQ((*queue)->in_flight(), 1);  // and the queue ends without waiting for it
  });
}

TEST_F(ForbiddenCallsTest, WhereDirectReadsAreRefusedFilesAreReadBuffered) {
  struct Refusal {
    uint32_t call;
    uint32_t bits;
  };
  // When the file is opened, or only when it is read.
  for (const Refusal refusal : {Refusal{SYS_fcntl, O_DIRECT}, Refusal{SYS_pread64, 0}}) {
    apart([&] {
      if (!forbid(refusal.call, EINVAL, refusal.bits)) GTEST_SKIP() << "no filters of system calls";
      const auto queue = open_read_queue({path_});
      ASSERT_TRUE(queue) << queue.error().message;
      EXPECT_FALSE((*queue)->direct());
      EXPECT_EQ((*queue)->alignment(), 1u);
      const auto insisted = open_read_queue({path_}, {.mode = ReadMode::kDirect});
      ASSERT_FALSE(insisted);
      EXPECT_EQ(insisted.error().kind, ErrorKind::kUnsupported);
      if (refusal.call == SYS_fcntl) {
        const Status status = read_some(**queue);
        EXPECT_TRUE(status) << status.error().message;
      }
    });
  }
}

TEST_F(ForbiddenCallsTest, OlderKernelsDoNotTellTheAlignment) {
  apart([&] {
    if (!forbid(SYS_statx, ENOSYS)) GTEST_SKIP() << "no filters of system calls";
    const auto queue = open_read_queue({path_});
    ASSERT_TRUE(queue) << queue.error().message;
    if ((*queue)->direct()) {
      EXPECT_EQ((*queue)->alignment(), 4096u);
    }
    const Status status = read_some(**queue);
    EXPECT_TRUE(status) << status.error().message;
  });
}

TEST_F(ForbiddenCallsTest, WithoutThreadsThePoolIsAnError) {
  apart([&] {
    if (!forbid(SYS_clone3, EAGAIN) || !forbid(SYS_clone, EAGAIN)) {
      GTEST_SKIP() << "no filters of system calls";
    }
    const auto queue = open_read_queue({path_}, {.engine = ReadEngine::kPread});
    ASSERT_FALSE(queue);
    EXPECT_EQ(queue.error().kind, ErrorKind::kIo);
  });
}

TEST_F(ForbiddenCallsTest, WithoutEventDescriptorsAPoolReads) {
  apart([&] {
    if (!forbid(SYS_eventfd2, EMFILE)) GTEST_SKIP() << "no filters of system calls";
    const auto queue = open_read_queue({path_});
    ASSERT_TRUE(queue) << queue.error().message;
    EXPECT_EQ((*queue)->name(), "pread");
  });
}

}  // namespace
}  // namespace sluice::storage
