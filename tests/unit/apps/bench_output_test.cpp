// SPDX-License-Identifier: Apache-2.0
// Every format of `sluice bench` on fixed timings, byte for byte. The frames are llama-bench's.
#include "apps/bench_output.h"

#include <gmock/gmock.h>

#include "environment.h"

namespace sluice::apps {
namespace {

const BenchMachine kMachine{"abc1234", 42, "1.2.3", "Test CPU", "CPU"};

class BenchOutputTest : public EnvironmentTest {
 protected:
  // What a whole run prints: the n-th test took (n + 1) * {2, 2.5} s.
  std::string report(BenchFormat format, std::vector<std::string> arguments,
                     const engine::ExpertUse& experts = {}) {
    arguments.insert(arguments.begin(), {"-m", model_});
    if (std::find(arguments.begin(), arguments.end(), "-t") == arguments.end())
      arguments.insert(arguments.end(), {"-t", "2"});
    BenchRequest request;
    const auto go = parse_bench(arguments, request);
    EXPECT_TRUE(go) << go.error().message;
    const auto printer = make_bench_printer(format, kMachine, request.experts);
    std::string text = printer->header(request);
    uint64_t n = 0;
    for (const BenchCase& one : bench_cases(request)) {
      ++n;
      BenchRecord record;
      record.what = one;
      record.model = {"qwen3moe 30B.A3B Q4_K - Medium", 18556686912, 30532122624};
      record.backend_description = "CPU, avx2, 2 threads";
      record.load_ns = 1234567;
      record.time = "2026-01-02T03:04:05Z";
      record.samples_ns = {n * 2000000000, n * 2500000000};
      record.experts = experts;
      text += printer->test(record);
    }
    return text + printer->footer();
  }

  std::string model_ = "dir/a \"b\" 'c'.gguf";
};

TEST_F(BenchOutputTest, Markdown) {
  EXPECT_EQ(
      report(BenchFormat::kMarkdown, {}),
      R"(| model                          |       size |     params | backend    | threads |            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | ------: | --------------: | -------------------: |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |       2 |           pp512 |       230.40 ± 36.20 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |       2 |           tg128 |         28.80 ± 4.53 |

build: abc1234 (42)
)");
}

TEST_F(BenchOutputTest, MarkdownNamesOfTests) {
  EXPECT_EQ(
      report(BenchFormat::kMarkdown, {"-p", "2048", "-n", "64", "-pg", "512,64", "-d", "0,8192",
                                      "-ctk", "q8_0", "-fa", "1"}),
      R"(| model                          |       size |     params | backend    | threads | type_k |  fa |            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ---------- | ------: | -----: | --: | --------------: | -------------------: |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |       2 |   q8_0 |   1 |          pp2048 |      921.60 ± 144.82 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |       2 |   q8_0 |   1 |            tg64 |         14.40 ± 2.26 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |       2 |   q8_0 |   1 |      pp512+tg64 |        86.40 ± 13.58 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |       2 |   q8_0 |   1 |  pp2048 @ d8192 |       230.40 ± 36.20 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |       2 |   q8_0 |   1 |    tg64 @ d8192 |          5.76 ± 0.91 |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |       2 |   q8_0 |   1 | pp512+tg64 @ d8192 |         43.20 ± 6.79 |

build: abc1234 (42)
)");
}

TEST_F(BenchOutputTest, MarkdownWithEveryColumn) {
  EXPECT_EQ(
      report(BenchFormat::kMarkdown,
             {"-n",        "0",    "-ncmoe", "3",    "-C",    "0x1",  "--cpu-strict", "1",
              "--poll",    "0",    "-b",     "1024", "-ub",   "256",  "-ctk",         "bf16",
              "-ctv",      "q4_0", "-mg",    "1",    "-sm",   "row",  "-nkvo",        "1",
              "-fa",       "off",  "-dev",   "none", "-ts",   "1/1",  "-ot",          "a=CPU",
              "-lm",       "none", "-lzm",   "on",   "-embd", "1",    "-nopo",        "1",
              "--no-host", "1",    "-fitt",  "8",    "-fitc", "4096", "--isa",        "avx2",
              "-ngl",      "99"}),
      R"(| model                          |       size |     params | backend    |  n_cpu_moe | threads | cpu_mask   | cpu_strict |       poll | n_batch | n_ubatch | type_k | type_v |   main_gpu |     sm |          nkvo |  fa | dev          | ts           | ot                    |         lm | lazy_mode  |       embd | nopo |  noh |       fitt |        fitc |            test |                  t/s | isa        |
| ------------------------------ | ---------: | ---------: | ---------- | ---------: | ------: | ---------- | ---------: | ---------: | ------: | -------: | -----: | -----: | ---------: | -----: | ------------: | --: | ------------ | ------------ | --------------------- | ---------: | ---------- | ---------: | ---: | ---: | ---------: | ----------: | --------------: | -------------------: | ---------- |
| qwen3moe 30B.A3B Q4_K - Medium |  17.28 GiB |    30.53 B | CPU        |          3 |       2 | 0x1        |          1 |          0 |    1024 |      256 |   bf16 |   q4_0 |          1 |    row |             1 |   0 | none         | 1.00/1.00    | a=CPU                 |       none | on         |          1 |    1 |    1 |          8 |        4096 |           pp512 |       230.40 ± 36.20 | avx2       |

build: abc1234 (42)
)");
}

TEST_F(BenchOutputTest, Csv) {
  EXPECT_EQ(
      report(BenchFormat::kCsv, {"-n", "0"}),
      R"(build_commit,build_number,cpu_info,gpu_info,backends,model_filename,model_type,model_size,model_n_params,n_batch,n_ubatch,n_threads,cpu_mask,cpu_strict,poll,type_k,type_v,n_gpu_layers,n_cpu_moe,split_mode,main_gpu,no_kv_offload,flash_attn,devices,tensor_split,tensor_buft_overrides,load_mode,lazy_mode,embeddings,no_op_offload,no_host,fit_target,fit_min_ctx,n_prompt,n_gen,n_depth,test_time,avg_ns,stddev_ns,avg_ts,stddev_ts,engine,isa,backend_description,load_ns
"abc1234","42","Test CPU","","CPU","dir/a ""b"" 'c'.gguf","qwen3moe 30B.A3B Q4_K - Medium","18556686912","30532122624","2048","512","2","0x0","0","50","f16","f16","-1","0","layer","0","0","-1","auto","0.00","none","auto","auto","0","0","0","0","0","512","0","0","2026-01-02T03:04:05Z","2250000000","353553390","230.400000","36.203867","sluice 1.2.3","auto","CPU, avx2, 2 threads","1234567"
)");
}

TEST_F(BenchOutputTest, Json) {
  const std::string one = R"(  {
    "build_commit": "abc1234",
    "build_number": 42,
    "cpu_info": "Test CPU",
    "gpu_info": "",
    "backends": "CPU",
    "model_filename": "dir/a \"b\" 'c'.gguf",
    "model_type": "qwen3moe 30B.A3B Q4_K - Medium",
    "model_size": 18556686912,
    "model_n_params": 30532122624,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_threads": 2,
    "cpu_mask": "0x0",
    "cpu_strict": false,
    "poll": 50,
    "type_k": "f16",
    "type_v": "f16",
    "n_gpu_layers": -1,
    "n_cpu_moe": 0,
    "split_mode": "layer",
    "main_gpu": 0,
    "no_kv_offload": true,
    "flash_attn": -1,
    "devices": "auto",
    "tensor_split": "0.00",
    "tensor_buft_overrides": "none",
    "load_mode": "auto",
    "lazy_mode": "auto",
    "embeddings": false,
    "no_op_offload": 1,
    "no_host": false,
    "fit_target": 0,
    "fit_min_ctx": 0,
)";
  EXPECT_EQ(report(BenchFormat::kJson, {"-p", "3", "-n", "1", "-nkvo", "1", "-nopo", "1"}),
            "[\n" + one + R"(    "n_prompt": 3,
    "n_gen": 0,
    "n_depth": 0,
    "test_time": "2026-01-02T03:04:05Z",
    "avg_ns": 2250000000,
    "stddev_ns": 353553390,
    "avg_ts": 1.350000,
    "stddev_ts": 0.212132,
    "samples_ns": [ 2000000000, 2500000000 ],
    "samples_ts": [ 1.5, 1.2 ],
    "engine": "sluice 1.2.3",
    "isa": "auto",
    "backend_description": "CPU, avx2, 2 threads",
    "load_ns": 1234567
  },
)" + one + R"(    "n_prompt": 0,
    "n_gen": 1,
    "n_depth": 0,
    "test_time": "2026-01-02T03:04:05Z",
    "avg_ns": 4500000000,
    "stddev_ns": 707106781,
    "avg_ts": 0.225000,
    "stddev_ts": 0.035355,
    "samples_ns": [ 4000000000, 5000000000 ],
    "samples_ts": [ 0.25, 0.2 ],
    "engine": "sluice 1.2.3",
    "isa": "auto",
    "backend_description": "CPU, avx2, 2 threads",
    "load_ns": 1234567
  }
]
)");
}

TEST_F(BenchOutputTest, Jsonl) {
  EXPECT_EQ(
      report(BenchFormat::kJsonl, {"-n", "0"}),
      R"({"build_commit": "abc1234", "build_number": 42, "cpu_info": "Test CPU", "gpu_info": "", "backends": "CPU", "model_filename": "dir/a \"b\" 'c'.gguf", "model_type": "qwen3moe 30B.A3B Q4_K - Medium", "model_size": 18556686912, "model_n_params": 30532122624, "n_batch": 2048, "n_ubatch": 512, "n_threads": 2, "cpu_mask": "0x0", "cpu_strict": false, "poll": 50, "type_k": "f16", "type_v": "f16", "n_gpu_layers": -1, "n_cpu_moe": 0, "split_mode": "layer", "main_gpu": 0, "no_kv_offload": false, "flash_attn": -1, "devices": "auto", "tensor_split": "0.00", "tensor_buft_overrides": "none", "load_mode": "auto", "lazy_mode": "auto", "embeddings": false, "no_op_offload": 0, "no_host": false, "fit_target": 0, "fit_min_ctx": 0, "n_prompt": 512, "n_gen": 0, "n_depth": 0, "test_time": "2026-01-02T03:04:05Z", "avg_ns": 2250000000, "stddev_ns": 353553390, "avg_ts": 230.400000, "stddev_ts": 36.203867, "samples_ns": [ 2000000000, 2500000000 ],"samples_ts": [ 256, 204.8 ], "engine": "sluice 1.2.3", "isa": "auto", "backend_description": "CPU, avx2, 2 threads", "load_ns": 1234567}
)");
}

TEST_F(BenchOutputTest, Sql) {
  EXPECT_EQ(report(BenchFormat::kSql, {"-n", "0"}),
            R"(CREATE TABLE IF NOT EXISTS llama_bench (
  build_commit TEXT,
  build_number INTEGER,
  cpu_info TEXT,
  gpu_info TEXT,
  backends TEXT,
  model_filename TEXT,
  model_type TEXT,
  model_size INTEGER,
  model_n_params INTEGER,
  n_batch INTEGER,
  n_ubatch INTEGER,
  n_threads INTEGER,
  cpu_mask TEXT,
  cpu_strict INTEGER,
  poll INTEGER,
  type_k TEXT,
  type_v TEXT,
  n_gpu_layers INTEGER,
  n_cpu_moe INTEGER,
  split_mode TEXT,
  main_gpu INTEGER,
  no_kv_offload INTEGER,
  flash_attn INTEGER,
  devices TEXT,
  tensor_split TEXT,
  tensor_buft_overrides TEXT,
  load_mode TEXT,
  lazy_mode TEXT,
  embeddings INTEGER,
  no_op_offload INTEGER,
  no_host INTEGER,
  fit_target INTEGER,
  fit_min_ctx INTEGER,
  n_prompt INTEGER,
  n_gen INTEGER,
  n_depth INTEGER,
  test_time TEXT,
  avg_ns INTEGER,
  stddev_ns INTEGER,
  avg_ts REAL,
  stddev_ts REAL,
  engine TEXT,
  isa TEXT,
  backend_description TEXT,
  load_ns INTEGER
);

INSERT INTO llama_bench (build_commit, build_number, cpu_info, gpu_info, backends, model_filename, model_type, model_size, model_n_params, n_batch, n_ubatch, n_threads, cpu_mask, cpu_strict, poll, type_k, type_v, n_gpu_layers, n_cpu_moe, split_mode, main_gpu, no_kv_offload, flash_attn, devices, tensor_split, tensor_buft_overrides, load_mode, lazy_mode, embeddings, no_op_offload, no_host, fit_target, fit_min_ctx, n_prompt, n_gen, n_depth, test_time, avg_ns, stddev_ns, avg_ts, stddev_ts, engine, isa, backend_description, load_ns) VALUES ('abc1234', '42', 'Test CPU', '', 'CPU', 'dir/a "b" ''c''.gguf', 'qwen3moe 30B.A3B Q4_K - Medium', '18556686912', '30532122624', '2048', '512', '2', '0x0', '0', '50', 'f16', 'f16', '-1', '0', 'layer', '0', '0', '-1', 'auto', '0.00', 'none', 'auto', 'auto', '0', '0', '0', '0', '0', '512', '0', '0', '2026-01-02T03:04:05Z', '2250000000', '353553390', '230.400000', '36.203867', 'sluice 1.2.3', 'auto', 'CPU, avx2, 2 threads', '1234567');
)");
}

// Behind all other fields, and only on request.
TEST_F(BenchOutputTest, ExpertColumns) {
  const engine::ExpertUse use{1000, 875, uint64_t{3} << 30, 2000000000, 1500000000, 1 << 30};
  const auto lines = [&](BenchFormat format) {
    return report(format, {"-n", "0", "--experts"}, use);
  };
  EXPECT_THAT(lines(BenchFormat::kMarkdown),
              testing::AllOf(
                  testing::HasSubstr("|     in RAM |       read |       disk |     waited |\n"),
                  testing::HasSubstr("|     87.5 % |   3.00 GiB |  1.61 GB/s |     1.50 s |\n")));
  EXPECT_THAT(lines(BenchFormat::kCsv),
              testing::AllOf(
                  testing::HasSubstr(",load_ns,experts_ram,experts_ssd,experts_bytes_read,"
                                     "experts_read_gbs,experts_stalled_ns,experts_stalled_gbs\n"),
                  testing::EndsWith(",\"1234567\",\"875\",\"125\",\"3221225472\",\"1.610613\","
                                    "\"1500000000\",\"0.715828\"\n")));
  EXPECT_THAT(lines(BenchFormat::kJsonl),
              testing::EndsWith(
                  "\"load_ns\": 1234567, \"experts_ram\": 875, \"experts_ssd\": 125, "
                  "\"experts_bytes_read\": 3221225472, \"experts_read_gbs\": 1.610613, "
                  "\"experts_stalled_ns\": 1500000000, \"experts_stalled_gbs\": 0.715828}\n"));
  EXPECT_THAT(lines(BenchFormat::kJson),
              testing::HasSubstr("    \"experts_ram\": 875,\n    \"experts_ssd\": 125,\n"));
  EXPECT_THAT(lines(BenchFormat::kSql),
              testing::AllOf(testing::HasSubstr("  experts_stalled_gbs REAL\n);"),
                             testing::HasSubstr("'875', '125', '3221225472'")));
}

TEST_F(BenchOutputTest, NoneHasNoPrinter) {
  EXPECT_EQ(make_bench_printer(BenchFormat::kNone, kMachine), nullptr);
}

}  // namespace
}  // namespace sluice::apps
