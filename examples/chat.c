/* SPDX-License-Identifier: Apache-2.0
 * A conversation with a model, in C.
 *
 *   cc chat.c $(pkg-config --cflags --libs sluice) -o chat
 *   ./chat model.gguf "Who are you?" "And what can you do?"
 *
 * Each argument behind the model is a message; without one, lines of standard input are. Ctrl-C
 * ends an answer. */
#include <signal.h>
#include <sluice/sluice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MESSAGES = 200, MOST_BYTES = 65536 };

static sluice_session* session;

static void stop(int signal_number) {
  (void)signal_number;
  sluice_cancel(session);
}

/* The answer so far: shown, and kept for the next turn. */
struct answer {
  char* text;
  size_t length;
};

static int on_text(const char* text, size_t bytes, void* user) {
  struct answer* answer = user;
  char* longer = realloc(answer->text, answer->length + bytes + 1);
  if (longer == NULL) return 1;
  memcpy(longer + answer->length, text, bytes);
  answer->text = longer;
  answer->length += bytes;
  answer->text[answer->length] = '\0';
  fwrite(text, 1, bytes, stdout);
  return fflush(stdout); /* nobody reads any more: end */
}

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, sluice_last_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s MODEL.gguf [MESSAGE...]\n", argv[0]);
    return 2;
  }
  sluice_model_options options = {.size = sizeof options};
  options.path = argv[1];
  sluice_model* model;
  if (sluice_model_load(&options, &model) != SLUICE_OK) return failed("load");
  if (sluice_session_create(model, &session) != SLUICE_OK) return failed("session");
  signal(SIGINT, stop);

  sluice_sampling sampling = {.size = sizeof sampling};
  sluice_default_sampling(model, &sampling);
  sampling.seed = 1; /* the same text each time */

  static sluice_message messages[MOST_MESSAGES];
  static char line[MOST_BYTES];
  size_t count = 0;
  int status = 0;
  for (int next = 2; count + 2 <= MOST_MESSAGES && status == 0;) {
    char* text;
    if (argc > 2) {
      if (next == argc) break;
      text = strdup(argv[next++]);
    } else {
      if (fgets(line, sizeof line, stdin) == NULL) break;
      line[strcspn(line, "\n")] = '\0';
      text = strdup(line);
    }
    if (text == NULL) break;
    printf("> %s\n", text);
    messages[count++] = (sluice_message){"user", text};

    struct answer answer = {NULL, 0};
    sluice_generate_options generate = {.size = sizeof generate};
    generate.sampling = &sampling;
    generate.on_text = on_text;
    generate.user = &answer;
    sluice_result result = {.size = sizeof result};
    if (sluice_chat(session, messages, count, &generate, &result) != SLUICE_OK) {
      status = failed("chat");
    } else {
      printf("\n[%lld tokens read, %lld known, %lld written]\n",
             (long long)(result.prompt_tokens - result.reused_tokens),
             (long long)result.reused_tokens, (long long)result.generated_tokens);
    }
    messages[count++] = (sluice_message){"assistant", answer.text ? answer.text : strdup("")};
  }

  while (count > 0) free((char*)messages[--count].content);
  sluice_session_free(session);
  sluice_model_free(model);
  return status;
}
