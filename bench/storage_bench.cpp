// SPDX-License-Identifier: Apache-2.0
// Random reads of a file past the page cache, for depths and sizes, next to fio's in the same run.
//
//   storage_bench [--file=PATH] [--seconds=S] [--rounds=N] [--check=SHARE] [Google Benchmark's
//   flags]
//
// Without --file a file of 2 GiB is made in $TMPDIR (or /tmp) and removed afterwards. Names are
// engine/depth/KiB. "GB/s" is the median over the rounds; "fio GB/s" that of fio (if installed)
// doing the same right before or after; "of fio" the median of the rounds' ratios; "cpu s/GB"
// the processor time of ours. fio reads to small pages.
// --check=0.85 instead reads experts' parts of the usual models as the program does on this disk,
// and ends with 1 when a median is below that share of fio's.
#include <benchmark/benchmark.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "measure.h"
#include "storage/disk_profile.h"
#include "storage/file.h"
#include "storage/read_queue.h"

namespace sluice::bench {
namespace {

using storage::Completion;
using storage::Read;
using storage::ReadEngine;
using storage::ReadMode;
using storage::ReadQueue;
using Clock = std::chrono::steady_clock;

// What the reads go to.
enum class Pages {
  kHuge,        // as slots of experts do
  kSmall,       // as fio does
  kRegistered,  // huge, and pinned for io_uring
};

struct Settings {
  std::string file;
  bool made = false;  // by us: to be removed
  double seconds = 1;
  int rounds = 4;
  double check = 0;
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double processor_seconds() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Bytes per second of random reads, all of them counted from the first start to the last end, as
// fio does; 0 after an error.
double read_rate(ReadQueue& queue, uint64_t file_bytes, uint32_t bytes, double seconds,
                 uint8_t* memory, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> idle;
  for (int i = 0; i < queue.depth(); ++i) idle.push_back(i);
  std::vector<Completion> done;
  uint64_t read_bytes = 0;
  const Clock::time_point start = Clock::now();
  for (;;) {
    const bool more = seconds_since(start) < seconds;
    while (more && !idle.empty()) {
      const uint64_t place = idle.back();
      idle.pop_back();
      const Read read = {.offset = random() % (file_bytes / bytes) * bytes,
                         .bytes = bytes,
                         .needed = bytes,
                         .to = memory + place * bytes,
                         .id = place};
      queue.submit({&read, 1});
    }
    if (!more && queue.in_flight() == 0) break;
    done.clear();
    queue.wait(done, std::chrono::milliseconds(1000));
    for (const Completion& completion : done) {
      if (!completion.status) return 0;
      idle.push_back(completion.id);
      read_bytes += bytes;
    }
  }
  return static_cast<double>(read_bytes) / seconds_since(start);
}

bool have_fio() {
  static const bool found = std::system("fio --version >/dev/null 2>&1") == 0;
  return found;
}

// The same reads by fio; 0 when it does not say.
double fio_rate(const Settings& settings, const std::string& engine, int depth, uint32_t bytes,
                uint64_t seed) {
  // Threads that pread are fio's synchronous jobs.
  const bool threads = engine == "pread";
  const std::string command = fmt::format(
      "fio --name=x --filename='{}' --readonly --rw=randread --norandommap --randseed={} --bs={} "
      "--direct=1 --ioengine={} --iodepth={} --numjobs={} --thread --group_reporting "
      "--time_based --runtime={:.0f}ms --output-format=json 2>/dev/null",
      settings.file, seed, bytes, threads ? "psync" : "io_uring", threads ? 1 : depth,
      threads ? depth : 1, settings.seconds * 1e3);
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return 0;
  std::string text;
  std::array<char, 4096> piece;
  while (const size_t got = fread(piece.data(), 1, piece.size(), pipe)) {
    text.append(piece.data(), got);
  }
  pclose(pipe);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto rate = nlohmann::json::json_pointer("/jobs/0/read/bw_bytes");
  if (json.is_discarded() || !json.contains(rate)) return 0;
  return json[rate].get<double>();
}

struct Rounds {
  std::vector<double> rates, fio_rates, ratios, processor;
};

// False: a read failed.
bool alternate(ReadQueue& queue, const Settings& settings, uint64_t file_bytes, uint32_t bytes,
               uint8_t* memory, Rounds& rounds) {
  for (int round = 0; round < settings.rounds; ++round) {
    const uint64_t seed = std::random_device()();
    double theirs = 0;
    const auto run_fio = [&] {
      if (have_fio())
        theirs = fio_rate(settings, std::string(queue.name()), queue.depth(), bytes, seed);
    };
    // First by turns: disks that allow bursts favour who comes after a pause.
    if (round % 2 == 0) run_fio();
    const double before = processor_seconds();
    const Clock::time_point start = Clock::now();
    const double ours = read_rate(queue, file_bytes, bytes, settings.seconds, memory, seed);
    if (ours <= 0) return false;
    rounds.processor.push_back((processor_seconds() - before) /
                               (ours * seconds_since(start) / 1e9));
    rounds.rates.push_back(ours);
    if (round % 2 != 0) run_fio();
    if (theirs > 0) {
      rounds.fio_rates.push_back(theirs);
      rounds.ratios.push_back(ours / theirs);
    }
  }
  return true;
}

// Parts of experts in Q4_K_M files of the 80B (576 and 840 KiB) and the 30B (864 and 1260 KiB), cut
// and kept in flight as the profile says.
bool check_rates(const Settings& settings, const storage::DiskProfile& profile) {
  if (!have_fio()) {
    std::fprintf(stderr, "--check needs fio: apt install fio\n");
    return false;
  }
  auto queue = storage::open_read_queue({settings.file},
                                        {.mode = ReadMode::kDirect, .depth = profile.depth});
  const auto file = storage::File::open(settings.file);
  AlignedBuffer memory = AlignedBuffer::allocate(
      std::max(size_t{profile.piece_bytes} * static_cast<size_t>(profile.depth), size_t{32} << 20));
  if (!queue || !file || !memory) {
    std::fprintf(stderr, "%s\n", !queue ? queue.error().message.c_str() : "no file, or no memory");
    return false;
  }
  std::memset(memory.data(), 1, memory.size());
  bool all = true;
  for (const uint32_t kib : {576u, 840u, 864u, 1260u}) {
    const uint32_t bytes = std::min(kib << 10, profile.piece_bytes);
    Rounds rounds;
    if (file->size() < bytes ||
        !alternate(**queue, settings, file->size(), bytes, memory.data(), rounds) ||
        rounds.ratios.empty()) {
      std::fprintf(stderr, "%u KiB: a read failed, or fio said nothing\n", kib);
      return false;
    }
    const double share = median(rounds.ratios);
    all = all && share >= settings.check;
    std::printf(
        "parts of %4u KiB, %d reads of %u KiB in flight: %.2f GB/s, fio %.2f GB/s, of fio's "
        "%.2f%s\n",
        kib, profile.depth, bytes >> 10, median(rounds.rates) / 1e9, median(rounds.fio_rates) / 1e9,
        share, share < settings.check ? " (too little)" : "");
  }
  return all;
}

void random_reads(benchmark::State& state, const Settings& settings, ReadEngine engine,
                  uint32_t bytes, int depth, Pages pages) {
  auto queue = storage::open_read_queue(
      {settings.file}, {.mode = ReadMode::kDirect, .engine = engine, .depth = depth});
  const auto file = storage::File::open(settings.file);
  // Large enough for huge pages, whatever is read.
  AlignedBuffer memory = AlignedBuffer::allocate(
      std::max(size_t{bytes} * static_cast<size_t>(depth), size_t{32} << 20));
  if (!queue || !file || !memory || file->size() < bytes) {
    const std::string why = !queue ? queue.error().message : "no file, or no memory";
    state.SkipWithError(why.c_str());
    return;
  }
  if (pages == Pages::kSmall) madvise(memory.data(), memory.size(), MADV_NOHUGEPAGE);
  std::memset(memory.data(), 1, memory.size());
  if (pages == Pages::kRegistered && !(*queue)->register_memory({memory.data(), memory.size()})) {
    state.SkipWithError("the memory cannot be registered: raise the limit of locked memory");
    return;
  }
  for (auto _ : state) {
    Rounds rounds;
    if (!alternate(**queue, settings, file->size(), bytes, memory.data(), rounds)) {
      state.SkipWithError("a read failed");
      return;
    }
    state.SetIterationTime(bytes / median(rounds.rates));
    state.counters["GB/s"] = median(rounds.rates) / 1e9;
    state.counters["cpu s/GB"] = median(rounds.processor);
    if (rounds.ratios.empty()) continue;
    state.counters["fio GB/s"] = median(rounds.fio_rates) / 1e9;
    state.counters["of fio"] = median(rounds.ratios);
  }
}

// Not of zeros, and not sparse: some disks answer those without reading.
bool make_file(Settings& settings) {
  const char* folder = std::getenv("TMPDIR");
  settings.file = std::string(folder != nullptr ? folder : "/tmp") + "/storage_bench_XXXXXX";
  const int descriptor = mkstemp(settings.file.data());
  if (descriptor < 0) return false;
  settings.made = true;
  std::mt19937_64 random(1);
  std::vector<uint64_t> block((4 << 20) / sizeof(uint64_t));
  bool written = true;
  for (int i = 0; i < 512 && written; ++i) {
    for (uint64_t& word : block) word = random();
    written = ::write(descriptor, block.data(), 4 << 20) == 4 << 20;
  }
  written = written && ::fsync(descriptor) == 0;
  ::close(descriptor);
  return written;
}

void register_reads(const Settings& settings) {
  const auto add = [&](const char* name, ReadEngine engine, uint32_t kib, int depth, Pages pages) {
    benchmark::RegisterBenchmark(fmt::format("{}/{}/{}KiB", name, depth, kib).c_str(), random_reads,
                                 settings, engine, kib << 10, depth, pages)
        ->UseManualTime()
        ->Iterations(1)
        ->Unit(benchmark::kMillisecond);
  };
  // 576 and 840 KiB, 864 and 1260 KiB: the parts of experts in Q4_K_M files of the 80B and the 30B.
  for (const uint32_t kib : {256u, 576u, 864u, 1260u}) {
    for (const int depth : {1, 2, 4, 8, 16, 32}) {
      add("io_uring", ReadEngine::kIoUring, kib, depth, Pages::kHuge);
    }
  }
  for (const int depth : {4, 8, 16}) {
    add("small-pages", ReadEngine::kIoUring, 864, depth, Pages::kSmall);
    add("registered", ReadEngine::kIoUring, 864, depth, Pages::kRegistered);
    add("pread", ReadEngine::kPread, 864, depth, Pages::kHuge);
  }
}

bool value_of(const char* argument, const char* flag, std::string& value) {
  const size_t length = std::strlen(flag);
  if (std::strncmp(argument, flag, length) != 0) return false;
  value = argument + length;
  return true;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice;
  benchmark::Initialize(&argc, argv);
  bench::Settings settings;
  std::string value;
  for (int i = 1; i < argc; ++i) {
    if (bench::value_of(argv[i], "--file=", value)) {
      settings.file = value;
    } else if (bench::value_of(argv[i], "--seconds=", value)) {
      settings.seconds = std::max(0.05, std::strtod(value.c_str(), nullptr));
    } else if (bench::value_of(argv[i], "--rounds=", value)) {
      settings.rounds = std::max(1, static_cast<int>(std::strtol(value.c_str(), nullptr, 10)));
    } else if (bench::value_of(argv[i], "--check=", value)) {
      settings.check = std::strtod(value.c_str(), nullptr);
    } else {
      std::fprintf(stderr, "%s: unknown argument %s\n", argv[0], argv[i]);
      return 2;
    }
  }
  bool ready = !settings.file.empty() || bench::make_file(settings);
  if (ready) {
    const auto profile = storage::profile_disk({settings.file});
    if (profile) {
      std::printf("chosen for this disk: %s\n", storage::describe(*profile).c_str());
      std::fflush(stdout);
      if (settings.check > 0) ready = bench::check_rates(settings, *profile);
    } else {
      std::fprintf(stderr, "%s\n", profile.error().message.c_str());
      ready = false;
    }
  } else {
    std::fprintf(stderr, "%s: cannot write: %s\n", settings.file.c_str(), std::strerror(errno));
  }
  if (ready && settings.check == 0) {
    bench::register_reads(settings);
    benchmark::RunSpecifiedBenchmarks();
  }
  if (settings.made) ::unlink(settings.file.c_str());
  return ready ? 0 : 1;
}
