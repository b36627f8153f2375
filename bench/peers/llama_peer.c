// SPDX-License-Identifier: Apache-2.0
// Times one test in llama.cpp's prebuilt shared libraries, through their public C interface, and prints it as
// llama-bench's JSON does (the fields that peers.py reads). Built and run by peers.py.
//
//   llama_peer --libraries DIR [--cpu NAME] -m FILE [-p N] [-n N] [-pg P,G] [-d N] [-r N] [-t N] [-b N] [-ub N]
//              [-ctk TYPE] [-ctv TYPE] [-fa 0|1]
//
// Random tokens; the depth is filled, and the warm-up done, before the clock starts. As in llama-bench every
// generated token is a decode of its own, and only the last token of a batch asks for logits.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "llama.h"

struct options {
  const char* libraries;
  const char* cpu;
  const char* model;
  int prompt, generate, depth, repetitions, threads, batch, ubatch;
  const char* type_k;
  const char* type_v;
  int flash;   // -1: its own choice
  int warmup;
  int repack;  // weights to another layout in memory of their own
};

static void die(const char* what, const char* detail) {
  fprintf(stderr, "llama_peer: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
  exit(1);
}

static int number(const char* flag, const char* text) {
  char* end;
  const long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 0 || value > INT32_MAX) die("not a number", flag);
  return (int)value;
}

static struct options parse(int argc, char** argv) {
  struct options o = {.repetitions = 1, .threads = 1, .batch = 2048, .ubatch = 512,
                      .type_k = "f16",  .type_v = "f16", .flash = -1, .warmup = 1, .repack = 1};
  for (int i = 1; i < argc; i += 2) {
    const char* flag = argv[i];
    if (!strcmp(flag, "--no-warmup")) {
      o.warmup = 0;
      --i;
      continue;
    }
    if (i + 1 >= argc) die("a flag without its value", flag);
    const char* value = argv[i + 1];
    if (!strcmp(flag, "--libraries")) o.libraries = value;
    else if (!strcmp(flag, "--cpu")) o.cpu = value;
    else if (!strcmp(flag, "-m")) o.model = value;
    else if (!strcmp(flag, "-p")) o.prompt = number(flag, value);
    else if (!strcmp(flag, "-n")) o.generate = number(flag, value);
    else if (!strcmp(flag, "-d")) o.depth = number(flag, value);
    else if (!strcmp(flag, "-r")) o.repetitions = number(flag, value);
    else if (!strcmp(flag, "-t")) o.threads = number(flag, value);
    else if (!strcmp(flag, "-b")) o.batch = number(flag, value);
    else if (!strcmp(flag, "-ub")) o.ubatch = number(flag, value);
    else if (!strcmp(flag, "-ctk")) o.type_k = value;
    else if (!strcmp(flag, "-ctv")) o.type_v = value;
    else if (!strcmp(flag, "-fa")) o.flash = number(flag, value);
    else if (!strcmp(flag, "--repack")) o.repack = number(flag, value);
    else if (!strcmp(flag, "-o")) continue;  // json is all there is
    else if (!strcmp(flag, "-pg")) {
      if (sscanf(value, "%d,%d", &o.prompt, &o.generate) != 2) die("not two numbers", flag);
    } else die("unknown flag", flag);
  }
  if (!o.libraries || !o.model) die("--libraries and -m are needed", NULL);
  if (o.prompt + o.generate < 1 || o.repetitions < 1 || o.threads < 1 || o.batch < 1 || o.ubatch < 1)
    die("nothing to measure", NULL);
  return o;
}

static enum ggml_type cache_type(const char* name) {
  for (int type = 0; type < GGML_TYPE_COUNT; ++type) {
    const char* known = ggml_type_name((enum ggml_type)type);
    if (known && !strcmp(known, name)) return (enum ggml_type)type;
  }
  die("unknown cache type", name);
  return GGML_TYPE_F16;
}

static void keep_errors(enum ggml_log_level level, const char* text, void* data) {
  (void)data;
  if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static void load_libraries(const struct options* o) {
  if (!o->cpu) {
    ggml_backend_load_all_from_path(o->libraries);
  } else {
    char path[4096];
    snprintf(path, sizeof(path), "%s/libggml-cpu-%s.so", o->libraries, o->cpu);
    if (!ggml_backend_load(path)) die("cannot load, or not for this machine", path);
  }
  if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)) die("no CPU library in", o->libraries);
}

// "zen4" of the libggml-cpu-zen4.so that is mapped into this process.
static void loaded_cpu(char* name, size_t size) {
  snprintf(name, size, "unknown");
  FILE* maps = fopen("/proc/self/maps", "r");
  char line[8192];
  while (maps && fgets(line, sizeof(line), maps)) {
    const char* found = strstr(line, "libggml-cpu-");
    if (!found) continue;
    snprintf(name, size, "%s", found + strlen("libggml-cpu-"));
    char* end = strstr(name, ".so");
    if (end) *end = '\0';
    break;
  }
  if (maps) fclose(maps);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t next_random(void) {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33);
}

static llama_token* random_tokens(int count, int vocabulary) {
  llama_token* tokens = malloc(sizeof(llama_token) * (size_t)(count > 0 ? count : 1));
  if (!tokens) die("out of memory", NULL);
  for (int i = 0; i < count; ++i) tokens[i] = (llama_token)(next_random() % (uint32_t)vocabulary);
  return tokens;
}

// Hands `count` tokens over, `step` at a time.
static void feed(struct llama_context* context, llama_token* tokens, int count, int step) {
  for (int done = 0; done < count;) {
    const int part = count - done < step ? count - done : step;
    if (llama_decode(context, llama_batch_get_one(tokens + done, part)) != 0) die("decoding failed", NULL);
    if (step == 1) llama_synchronize(context);
    done += part;
  }
  llama_synchronize(context);
}

static void print_result(const struct options* o, const uint64_t* ns) {
  char cpu[256];
  loaded_cpu(cpu, sizeof(cpu));
  printf("[{\"engine\": \"llama.cpp %s\", \"cpu_library\": \"%s\", \"n_prompt\": %d, \"n_gen\": %d, \"n_depth\": %d, ",
         llama_version(), cpu, o->prompt, o->generate, o->depth);
  printf("\"n_threads\": %d, \"samples_ns\": [", o->threads);
  for (int i = 0; i < o->repetitions; ++i) printf("%s%llu", i ? ", " : "", (unsigned long long)ns[i]);
  printf("], \"samples_ts\": [");
  for (int i = 0; i < o->repetitions; ++i)
    printf("%s%.6f", i ? ", " : "", 1e9 * (o->prompt + o->generate) / (double)ns[i]);
  printf("]}]\n");
}

int main(int argc, char** argv) {
  const struct options o = parse(argc, argv);
  llama_log_set(keep_errors, NULL);
  load_libraries(&o);
  llama_backend_init();

  struct llama_model_params load = llama_model_default_params();
  load.use_extra_bufts = o.repack != 0;
  struct llama_model* model = llama_model_load_from_file(o.model, load);
  if (!model) die("cannot load", o.model);
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));

  struct llama_context_params params = llama_context_default_params();
  params.n_ctx = (uint32_t)(o.prompt + o.generate + o.depth);
  params.n_batch = (uint32_t)o.batch;
  params.n_ubatch = (uint32_t)o.ubatch;
  params.type_k = cache_type(o.type_k);
  params.type_v = cache_type(o.type_v);
  if (o.flash >= 0)
    params.flash_attn_type = o.flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.n_threads = o.threads;
  params.n_threads_batch = o.threads;
  struct llama_context* context = llama_init_from_model(model, params);
  if (!context) die("cannot create a context for", o.model);
  llama_memory_t memory = llama_get_memory(context);

  // The threads wait between operations as llama-bench's do: that is its default too.
  ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
  typedef struct ggml_threadpool* (*make_pool)(struct ggml_threadpool_params*);
  const make_pool make = (make_pool)ggml_backend_reg_get_proc_address(registry, "ggml_threadpool_new");
  struct ggml_threadpool_params pool_params = ggml_threadpool_params_default(o.threads);
  struct ggml_threadpool* pool = make ? make(&pool_params) : NULL;
  if (pool) llama_attach_threadpool(context, pool, NULL);

  llama_token* depth = random_tokens(o.depth, vocabulary);
  llama_token* prompt = random_tokens(o.prompt, vocabulary);
  llama_token* generated = random_tokens(o.generate, vocabulary);
  if (o.warmup) {
    feed(context, prompt, o.prompt, o.batch);
    feed(context, generated, o.generate > 0, 1);
    llama_memory_clear(memory, false);
  }

  uint64_t* ns = malloc(sizeof(uint64_t) * (size_t)o.repetitions);
  if (!ns) die("out of memory", NULL);
  for (int i = 0; i < o.repetitions; ++i) {
    // Back to the depth; memory that cannot go back is filled anew.
    if (i == 0 || !llama_memory_seq_rm(memory, 0, o.depth, -1)) {
      llama_memory_clear(memory, false);
      feed(context, depth, o.depth, o.batch);
    }
    const uint64_t start = now_ns();
    feed(context, prompt, o.prompt, o.batch);
    feed(context, generated, o.generate, 1);
    ns[i] = now_ns() - start;
  }
  print_result(&o, ns);
  llama_free(context);
  llama_model_free(model);
  return 0;
}
