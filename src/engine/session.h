// SPDX-License-Identifier: Apache-2.0
// One timeline of tokens with the model's memory of it.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "engine/checkpoints.h"
#include "engine/engine.h"

namespace sluice::engine {

class Session {
 public:
  // `engine` must outlive the session.
  static Result<Session> create(Engine& engine);
  // The same with another context and other cache types than the engine's options say. A context
  // longer than what the model was trained for is warned about.
  static Result<Session> create(Engine& engine, int64_t capacity, const model::CacheTypes& types);

  Engine& engine() const { return *engine_; }
  int64_t length() const { return sequence_.length(); }
  int64_t capacity() const { return sequence_.capacity(); }
  // What the model has read, in order.
  std::span<const text::Token> tokens() const { return tokens_; }
  // Reserved for the whole context, checkpoints not counted; see session_memory.h.
  uint64_t bytes() const { return sequence_.bytes(); }

  // From now on checkpoints are kept, which reuse() and truncate() go back to. Without this, or
  // where the model needs none, there are none.
  void keep_checkpoints(const CheckpointOptions& options);
  const Checkpoints& checkpoints() const { return checkpoints_; }

  // Reads tokens in batches. Afterwards logits() are those of the last one. kTooLarge, before
  // anything is read, when they do not fit the context; kUsage for ids outside the vocabulary;
  // kCancelled, with whole batches read, when *cancel becomes true.
  Status feed(std::span<const text::Token> tokens, const std::atomic<bool>* cancel = nullptr);

  // Like feed, and hands the logits of every token to `sink` in order: rows [count, vocabulary].
  Status feed_all_logits(std::span<const text::Token> tokens,
                         const std::function<Status(std::span<const float> rows)>& sink,
                         const model::Observer& observer = nullptr);

  // Guesses up to `count` tokens behind `token`, which is to come next (model::Model::draft).
  Status guess(text::Token token, int64_t count, std::vector<text::Token>& tokens);
  // Reads tokens, at most model::Sequence::kMostAhead, that are not part of the session until
  // keep_ahead() says so of the first of them; `logits` of each. Nothing else may come in between.
  // Errors as of feed().
  Status read_ahead(std::span<const text::Token> tokens, std::vector<float>& logits);
  // The logits are gone.
  Status keep_ahead(std::span<const text::Token> tokens);

  // Of the last token read. Valid until the next call; may be changed by the caller.
  std::span<float> logits() { return logits_; }

  // Forgets everything from `length` on; with recurrent layers, everything behind the nearest
  // checkpoint at or before it, or all. The logits are gone.
  void truncate(int64_t length);

  // Makes the session hold exactly `tokens` with the logits of the last one, reading only what
  // comes after the common beginning; with recurrent layers, after the end of what is held or after
  // the nearest checkpoint. Returns how many were kept.
  // A checkpoint is taken where the text held so far ended, at the end of `tokens`, and at
  // `turns`: positions in `tokens`, ascending, from which the text is likely to be another one
  // next time (see chat.h). A turn that is so close behind a checkpoint that reading up to it
  // again costs less than a forward pass of its own gets none.
  Result<int64_t> reuse(std::span<const text::Token> tokens,
                        const std::atomic<bool>* cancel = nullptr,
                        std::span<const int64_t> turns = {});

  // Reading in steps, for those who read several sessions in one forward pass (scheduler.h).
  // begin() is what reuse() does before it reads: the session holds the common beginning with
  // `tokens`, or all of them with their logits. Returns how many were kept.
  Result<int64_t> begin(std::span<const text::Token> tokens);
  // How many begin() would keep.
  int64_t common(std::span<const text::Token> tokens) const;
  // What is to be read next of `tokens` after begin(), at most `most`: empty, when all have been.
  std::span<const text::Token> next_piece(std::span<const text::Token> tokens,
                                          std::span<const int64_t> turns, int64_t most);
  model::Chunk chunk(std::span<const text::Token> piece);
  // The forward pass has read `piece`, so that length() counts it; logits of its last token. At a
  // `turn` a checkpoint is kept.
  Status took(std::span<const text::Token> piece, std::span<const float> logits, bool turn);
  // It failed: the session holds what is left.
  void lost() { go_back(static_cast<int64_t>(tokens_.size())); }

  // Takes over what `other`, a session of the same engine and cache types, has in common with
  // `tokens`, where that is more than begin() would keep by a worthwhile amount. Returns whether.
  Result<bool> take_over(const Session& other, std::span<const text::Token> tokens);

  // A point to come back to. Keys and values are not copied, so that it costs the states of
  // recurrent layers only; they stay good until positions before its end are read anew.
  struct Checkpoint {
    model::Snapshot memory;
    std::vector<text::Token> tokens;
  };
  Result<Checkpoint> checkpoint() const;
  // Back to it; the logits are gone. kUsage, with nothing changed, when its keys and values are
  // gone or it is another session's.
  Status restore(const Checkpoint& checkpoint);

  // All that it holds, to be kept elsewhere: in a file, beyond the end of the program.
  struct Saved {
    std::vector<text::Token> tokens;
    model::Snapshot memory;                       // with keys and values
    std::vector<Checkpoints::Entry> checkpoints;  // by position; their memory is shared, not copied
  };
  Result<Saved> save() const;
  // Becomes what a session of the same model and cache types has saved. kUsage and kBadFile, with
  // nothing changed, where it cannot be. Checkpoints that are more than this one keeps, or than
  // memory is left for, are dropped. The logits are gone.
  Status load(Saved saved);

 private:
  Session(Engine& engine, model::Sequence sequence)
      : engine_(&engine), sequence_(std::move(sequence)) {}
  // Back to the nearest checkpoint at or before `position`, or to what the model can.
  void go_back(int64_t position);
  // Keeps a checkpoint here. Without memory for it there is none.
  Status keep(bool turn, std::span<const float> logits);
  // At the end of a turn, unless the last one is close.
  Status keep_turn(bool with_logits);
  // feed(), keep_ahead(), reuse(), begin() and take_over(), but that std::bad_alloc leaves them.
  Status feed_all(std::span<const text::Token> tokens, const std::atomic<bool>* cancel);
  Status keep_tokens(std::span<const text::Token> tokens);
  Result<int64_t> go_to(std::span<const text::Token> tokens, const std::atomic<bool>* cancel,
                        std::span<const int64_t> turns);
  Result<int64_t> begin_with(std::span<const text::Token> tokens);
  Result<bool> take_from(const Session& other, std::span<const text::Token> tokens);
  Status check(const Saved& saved) const;
  Status load_all(Saved& saved);
  bool recurrent() const;  // there are positions that it cannot go back to
  void make_room(size_t count);
  Status read(const model::Chunk& chunk, const model::Observer& observer);
  Status check(std::span<const text::Token> tokens) const;

  Engine* engine_;
  model::Sequence sequence_;
  std::vector<text::Token> tokens_;
  std::vector<float> logits_;
  Checkpoints checkpoints_;
  int64_t stop_ = 0;  // next_piece(): where the reading pauses next
};

}  // namespace sluice::engine
