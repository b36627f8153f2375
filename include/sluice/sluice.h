/* SPDX-License-Identifier: Apache-2.0
 * Sluice as a library: load a model, hold conversations, get text as it comes.
 *
 * Structs begin with `size`, which the caller sets to sizeof: a program built against an older
 * header keeps working with a newer library, which leaves what it does not know of at its default.
 * Zero means the default in the option structs, so that this is enough:
 *   sluice_model_options options = {.size = sizeof options};
 *
 * Functions that can fail return a sluice_status; sluice_last_error() has one line that says what,
 * where and what to do. Text is UTF-8. Sessions of one model take turns: calls for them may come
 * from any thread, one at a time for each session, but for sluice_cancel(), which may come at any
 * time.
 */
#ifndef SLUICE_SLUICE_H
#define SLUICE_SLUICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_API_VERSION 1

#if defined(__GNUC__)
#define SLUICE_API __attribute__((visibility("default")))
#else
#define SLUICE_API
#endif

typedef enum sluice_status {
  SLUICE_OK = 0,
  SLUICE_USAGE = 1,       /* an argument cannot be */
  SLUICE_NOT_FOUND = 2,   /* no such file */
  SLUICE_IO = 3,          /* the system refused a read or write */
  SLUICE_BAD_FILE = 4,    /* the file's content is malformed */
  SLUICE_UNSUPPORTED = 5, /* well-formed, but nothing here can run it */
  SLUICE_TOO_LARGE = 6,   /* does not fit the context or the memory */
  SLUICE_CANCELLED = 7,
  SLUICE_DEVICE = 8,  /* an accelerator failed */
  SLUICE_INTERNAL = 9 /* a defect of the library */
} sluice_status;

typedef struct sluice_model sluice_model;     /* opaque */
typedef struct sluice_session sluice_session; /* opaque */

typedef enum sluice_device {
  SLUICE_DEVICE_AUTO = 0, /* a GPU where there is one */
  SLUICE_DEVICE_CPU = 1
} sluice_device;

typedef struct sluice_model_options {
  size_t size;
  const char* path;      /* GGUF file; of a split one the first part */
  int64_t context;       /* positions of a session; 0: the model's, or what fits */
  uint64_t ram_bytes;    /* that the process may use; 0: what is free, less a margin */
  uint64_t vram_bytes;   /* of the GPU's memory; 0: what is free, less a margin */
  int32_t threads;       /* 0: all CPUs that the process may use */
  int32_t device;        /* sluice_device */
  int32_t no_cache_file; /* 1: remember nothing between runs */
} sluice_model_options;

typedef struct sluice_model_info {
  size_t size;
  int64_t context; /* positions of a session */
  int64_t vocabulary;
  int64_t layers;
  int64_t experts;      /* per layer; 0: a dense model */
  int64_t experts_used; /* of these, per token */
  uint64_t file_bytes;
  uint64_t planned_bytes; /* of memory, by the plan */
  int32_t all_in_memory;  /* 0: experts come from the file while it runs */
  int32_t has_chat_template;
} sluice_model_info;

typedef struct sluice_message {
  const char* role; /* "system", "user", "assistant" */
  const char* content;
} sluice_message;

/* Fill with sluice_default_sampling(), then change. */
typedef struct sluice_sampling {
  size_t size;
  uint64_t seed;     /* UINT64_MAX: another one each time */
  float temperature; /* 0: always the most probable token */
  int32_t top_k;
  float top_p;
  float min_p;
  float repeat_penalty;
  float presence_penalty;
  float frequency_penalty;
} sluice_sampling;

typedef enum sluice_finish {
  SLUICE_FINISH_END = 0,     /* the model ended its turn */
  SLUICE_FINISH_STOP = 1,    /* one of the stop strings */
  SLUICE_FINISH_LENGTH = 2,  /* max_tokens */
  SLUICE_FINISH_CONTEXT = 3, /* no room left */
  SLUICE_FINISH_CANCELLED = 4
} sluice_finish;

/* Gets the text as it becomes certain: whole characters, not terminated by a zero. Anything but 0
 * ends the answer (SLUICE_FINISH_CANCELLED). */
typedef int (*sluice_text_callback)(const char* text, size_t bytes, void* user);

typedef struct sluice_generate_options {
  size_t size;
  int64_t max_tokens;              /* 0: until the model ends or the context is full */
  const sluice_sampling* sampling; /* NULL: the model's defaults */
  const char* const* stop;         /* texts that end the answer */
  size_t stop_count;
  sluice_text_callback on_text; /* may be NULL */
  void* user;
} sluice_generate_options;

typedef struct sluice_result {
  size_t size;
  int32_t finish; /* sluice_finish */
  int64_t prompt_tokens;
  int64_t reused_tokens; /* of these, not read again */
  int64_t generated_tokens;
  double prompt_seconds;
  double first_token_seconds;
  double generate_seconds;
} sluice_result;

/* Of all sessions of a model since it was loaded. */
typedef struct sluice_stats {
  size_t size;
  uint64_t expert_requests;
  uint64_t expert_hits; /* of these, in memory */
  uint64_t expert_bytes_read;
  double expert_wait_seconds;
} sluice_stats;

SLUICE_API const char* sluice_version(void);

/* Of the last call of this thread that failed; "" before. Valid until its next call. */
SLUICE_API const char* sluice_last_error(void);

/* 0 silent (the default), 1 errors, 2 warnings, 3 information, 4 everything; to standard error. */
SLUICE_API void sluice_log_level(int32_t level);

SLUICE_API sluice_status sluice_model_load(const sluice_model_options* options,
                                           sluice_model** model);
/* After all of its sessions. NULL is fine. */
SLUICE_API void sluice_model_free(sluice_model* model);
SLUICE_API sluice_status sluice_model_describe(const sluice_model* model, sluice_model_info* info);
SLUICE_API sluice_status sluice_model_stats(const sluice_model* model, sluice_stats* stats);
SLUICE_API sluice_status sluice_default_sampling(const sluice_model* model,
                                                 sluice_sampling* sampling);

/* Token ids of a text. `tokens` may be NULL to learn `count`; SLUICE_TOO_LARGE, with `count` set,
 * when `capacity` is less. special: 1 to recognise special tokens in the text, which untrusted text
 * must not. */
SLUICE_API sluice_status sluice_tokenize(const sluice_model* model, const char* text, size_t bytes,
                                         int32_t special, int32_t* tokens, size_t capacity,
                                         size_t* count);

/* One timeline: what was read before is not read again when a prompt begins the same. */
SLUICE_API sluice_status sluice_session_create(sluice_model* model, sluice_session** session);
SLUICE_API void sluice_session_free(sluice_session* session);

/* The answer to a conversation, through the model's chat template. The text goes to on_text alone.
 */
SLUICE_API sluice_status sluice_chat(sluice_session* session, const sluice_message* messages,
                                     size_t count, const sluice_generate_options* options,
                                     sluice_result* result);
/* Continues a text as it is. */
SLUICE_API sluice_status sluice_complete(sluice_session* session, const char* prompt, size_t bytes,
                                         const sluice_generate_options* options,
                                         sluice_result* result);
/* Ends the answer that is being generated, with what it has so far; from any thread or signal
 * handler. */
SLUICE_API void sluice_cancel(sluice_session* session);

#ifdef __cplusplus
}
#endif

#endif
