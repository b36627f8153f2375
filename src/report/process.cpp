// SPDX-License-Identifier: Apache-2.0
#include "report/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "report/sample.h"
#include "report/small_files.h"

namespace sluice::report {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostOutput = size_t{16} << 20;
constexpr size_t kMostLines = 1000;
constexpr size_t kMostLineBytes = 4096;
constexpr auto kGrace = std::chrono::seconds(3);  // between asking to end and killing

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  void set(int value) {
    close();
    value_ = value;
  }
  void close() {
    if (value_ >= 0) ::close(value_);
    value_ = -1;
  }

 private:
  int value_ = -1;
};

struct Pipe {
  Descriptor read, write;
  bool open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read.set(ends[0]);
    write.set(ends[1]);
    return true;
  }
};

// Processes that the kernel killed for want of memory, on the whole machine.
double kills_of_machine() {
  return field_of("/proc/vmstat", "oom_kill ");
}

// In the child, between fork and exec: only what is safe in signal handlers.
[[noreturn]] void become(char* const* arguments, int input, int output, int errors, int failure,
                         int group) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0) [[maybe_unused]]
    const ssize_t ignored = write(score, "800", 3);
  int error = 0;
  if (group >= 0 && write(group, "0", 1) != 1) error = errno;
  if (error == 0) {
    dup2(input, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    signal(SIGPIPE, SIG_DFL);
    execv(arguments[0], arguments);
    error = errno;
  }
  [[maybe_unused]] const ssize_t told = write(failure, &error, sizeof(error));
  _exit(127);
}

class Reader {
 public:
  Reader(Outcome& outcome, Clock::time_point origin) : outcome_(outcome), origin_(origin) {}

  // false: the end.
  bool take_output(int descriptor) {
    const ssize_t got = read(descriptor);
    if (got <= 0) return got < 0;
    if (outcome_.first_output < 0) outcome_.first_output = now();
    const size_t room = kMostOutput - std::min(kMostOutput, outcome_.output.size());
    outcome_.output.append(buffer_.data(), std::min(static_cast<size_t>(got), room));
    return true;
  }

  bool take_errors(int descriptor) {
    const ssize_t got = read(descriptor);
    if (got <= 0) return got < 0;
    for (ssize_t i = 0; i < got; ++i) {
      const char c = buffer_[static_cast<size_t>(i)];
      if (c == '\n')
        finish_line();
      else if (line_.size() < kMostLineBytes)
        line_ += c;
    }
    return true;
  }

  void finish_line() {
    if (line_.empty()) return;
    if (outcome_.errors.size() == kMostLines) outcome_.errors.erase(outcome_.errors.begin());
    outcome_.errors.push_back({now(), std::move(line_)});
    line_.clear();
  }

  double now() const { return std::chrono::duration<double>(Clock::now() - origin_).count(); }

 private:
  // -1: try again.
  ssize_t read(int descriptor) {
    const ssize_t got = ::read(descriptor, buffer_.data(), buffer_.size());
    return got < 0 && errno != EINTR && errno != EAGAIN ? 0 : got;
  }

  Outcome& outcome_;
  Clock::time_point origin_;
  std::string line_;
  std::array<char, 16384> buffer_;
};

// Asks a process group to end, and makes it when it does not.
class Ender {
 public:
  explicit Ender(pid_t process) : process_(process) {}
  void ask() {
    if (asked_) return;
    asked_ = true;
    since_ = Clock::now();
    kill(-process_, SIGTERM);
  }
  void insist() const {
    if (asked_ && Clock::now() - since_ > kGrace) kill(-process_, SIGKILL);
  }

 private:
  pid_t process_;
  bool asked_ = false;
  Clock::time_point since_;
};

}  // namespace

Result<Outcome> run_process(const Command& command) {
  const auto cannot = [&](int error) {
    return fail(ErrorKind::kIo, "{}: cannot be started: {}", command.arguments[0],
                std::strerror(error));
  };
  std::vector<char*> arguments;
  for (const std::string& argument : command.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  Pipe output, errors, failure;
  const Descriptor nothing(open("/dev/null", O_RDONLY | O_CLOEXEC));
  Descriptor group;
  if (command.group) {
    group.set(open(command.group->members().c_str(), O_WRONLY | O_CLOEXEC));
    if (group.get() < 0) return cannot(errno);
  }
  if (nothing.get() < 0 || !output.open() || !errors.open() || !failure.open())
    return cannot(errno);
  const double killed_before = kills_of_machine();
  const uint64_t group_before = command.group ? command.group->kills() : 0;

  Outcome outcome;
  Reader reader(outcome, command.origin);
  outcome.began = reader.now();
  const pid_t process = fork();
  if (process < 0) return cannot(errno);
  if (process == 0)
    become(arguments.data(), nothing.get(), output.write.get(), errors.write.get(),
           failure.write.get(), group.get());
  output.write.close();
  errors.write.close();
  failure.write.close();
  int error = 0;
  ssize_t told;
  do told = read(failure.read.get(), &error, sizeof(error));
  while (told < 0 && errno == EINTR);
  if (told > 0) {
    waitpid(process, nullptr, 0);
    return cannot(error);
  }
  if (command.started) command.started(process);

  Ender ender(process);
  int status = 0;
  rusage usage{};
  bool running = true;
  Clock::time_point silent_since = Clock::now();
  while (true) {
    std::array<pollfd, 2> watched = {pollfd{output.read.get(), POLLIN, 0},
                                     pollfd{errors.read.get(), POLLIN, 0}};
    poll(watched.data(), watched.size(), 50);
    if (watched[0].revents && !reader.take_output(output.read.get())) output.read.close();
    if (watched[1].revents && !reader.take_errors(errors.read.get())) errors.read.close();
    if (watched[0].revents || watched[1].revents) silent_since = Clock::now();
    if (running && wait4(process, &status, WNOHANG, &usage) == process) {
      running = false;
      outcome.ended = reader.now();
    }
    // Somebody else may hold the pipes' other ends, and that is not waited for.
    const bool closed = output.read.get() < 0 && errors.read.get() < 0;
    if (!running && (closed || Clock::now() - silent_since > std::chrono::milliseconds(300))) break;
    if (!running) continue;
    if (command.interrupted && *command.interrupted) {
      outcome.interrupted = true;
      ender.ask();
    }
    if (command.timeout > 0 && reader.now() - outcome.began > command.timeout) {
      outcome.timed_out = true;
      ender.ask();
    }
    ender.insist();
    // Nothing left to watch, but it runs: poll returns at once.
    if (closed) usleep(20000);
  }
  kill(-process, SIGKILL);  // what it may have left behind
  reader.finish_line();
  outcome.peak_resident = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  outcome.major_faults = static_cast<uint64_t>(usage.ru_majflt);
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  if (outcome.signal == SIGKILL && !outcome.timed_out && !outcome.interrupted)
    outcome.out_of_memory = command.group && command.group->kills() > group_before
                                ? true
                                : kills_of_machine() > killed_before;
  return outcome;
}

}  // namespace sluice::report
