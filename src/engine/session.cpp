// SPDX-License-Identifier: Apache-2.0
#include "engine/session.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "base/no_memory.h"
#include "engine/session_memory.h"

namespace sluice::engine {
namespace {

// Tokens behind a checkpoint from which another one is worth it: its copy, and where a prompt would
// be cut for it the forward pass that this adds. A pass of a few tokens reads nearly as many
// experts as it has tokens, a longer one ever fewer.
constexpr int64_t kWorthACopy = 16;
constexpr int64_t kWorthACut = 64;

}  // namespace

Result<Session> Session::create(Engine& engine) {
  return create(engine, engine.context(), engine.options().cache);
}

Result<Session> Session::create(Engine& engine, int64_t capacity, const model::CacheTypes& types) {
  SLUICE_ASSIGN(model::Sequence sequence,
                or_no_memory([&] { return engine.model().create_sequence(capacity, types); }));
  if (const int64_t trained = engine.model().config().trained_context; capacity > trained)
    spdlog::warn(
        "a context of {} positions; {} was trained for {}: what comes after those may be poor",
        capacity, engine.options().model_path, trained);
  return Session(engine, std::move(sequence));
}

Status Session::check(std::span<const text::Token> tokens) const {
  const auto count = static_cast<int64_t>(tokens.size());
  if (count > capacity() - length())
    return fail(
        ErrorKind::kTooLarge,
        "the prompt needs {} positions, the context has {}: use -c {} or more, or a shorter prompt",
        length() + count, capacity(), length() + count + 1);
  const int64_t vocabulary = engine_->model().config().vocabulary;
  for (const text::Token token : tokens)
    if (token < 0 || token >= vocabulary)
      return fail(ErrorKind::kUsage, "token id {} is outside the vocabulary of {}", token,
                  vocabulary);
  return {};
}

// Room for `count` more tokens: once the model has read them, noting them must not fail.
void Session::make_room(size_t count) {
  const size_t needed = tokens_.size() + count;
  if (needed > tokens_.capacity()) tokens_.reserve(std::max(needed, 2 * tokens_.capacity()));
}

Status Session::read(const model::Chunk& chunk, const model::Observer& observer) {
  make_room(chunk.tokens.size());
  Status done = engine_->model().forward({&chunk, 1}, logits_, observer);
  if (done)
    tokens_.insert(tokens_.end(), chunk.tokens.begin(), chunk.tokens.end());
  else
    go_back(static_cast<int64_t>(tokens_.size()));  // the model may have lost what came before
  return done;
}

Status Session::feed(std::span<const text::Token> tokens, const std::atomic<bool>* cancel) {
  return or_no_memory([&] { return feed_all(tokens, cancel); });
}

Status Session::feed_all(std::span<const text::Token> tokens, const std::atomic<bool>* cancel) {
  SLUICE_TRY(check(tokens));
  const auto step = static_cast<size_t>(engine_->options().ubatch);
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    if (cancel && cancel->load(std::memory_order_relaxed))
      return fail(ErrorKind::kCancelled, "cancelled");
    const auto part = tokens.subspan(begin, std::min(step, tokens.size() - begin));
    const model::Chunk chunk{&sequence_, part, false};
    SLUICE_TRY(read(chunk, nullptr));
    if (checkpoints_.due(length())) SLUICE_TRY(keep(false, {}));
  }
  return {};
}

Status Session::feed_all_logits(std::span<const text::Token> tokens,
                                const std::function<Status(std::span<const float>)>& sink,
                                const model::Observer& observer) {
  SLUICE_TRY(check(tokens));
  // 64 rows of a vocabulary of 151936 are 39 MB.
  const size_t step = static_cast<size_t>(std::min<int64_t>(engine_->options().ubatch, 64));
  for (size_t begin = 0; begin < tokens.size(); begin += step) {
    const auto part = tokens.subspan(begin, std::min(step, tokens.size() - begin));
    const model::Chunk chunk{&sequence_, part, true};
    SLUICE_TRY(read(chunk, observer));
    const Status taken = sink(logits_);
    // logits() speaks of the last token alone.
    logits_.erase(logits_.begin(), logits_.end() - engine_->model().config().vocabulary);
    SLUICE_TRY(taken);
  }
  return {};
}

// --- reading ahead ---

Status Session::guess(text::Token token, int64_t count, std::vector<text::Token>& tokens) {
  SLUICE_TRY(check({&token, 1}));
  return engine_->model().draft(sequence_, token, count, tokens);
}

Status Session::read_ahead(std::span<const text::Token> tokens, std::vector<float>& logits) {
  SLUICE_TRY(check(tokens));
  logits_.clear();
  const model::Chunk chunk{&sequence_, tokens, true, true};
  Status done = engine_->model().forward({&chunk, 1}, logits);
  if (!done) go_back(static_cast<int64_t>(tokens_.size()));
  return done;
}

Status Session::keep_ahead(std::span<const text::Token> tokens) {
  return or_no_memory([&] { return keep_tokens(tokens); });
}

Status Session::keep_tokens(std::span<const text::Token> tokens) {
  make_room(tokens.size());
  Status done = engine_->model().accept(sequence_, static_cast<int64_t>(tokens.size()));
  if (!done) {
    go_back(static_cast<int64_t>(tokens_.size()));
    return done;
  }
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return checkpoints_.due(length()) ? keep(false, {}) : Status{};
}

// --- going back ---

void Session::keep_checkpoints(const CheckpointOptions& options) {
  const int64_t limit =
      session_memory(engine_->model().config(), capacity(), {}, options).checkpoints;
  checkpoints_ = Checkpoints(limit, options.step);
}

Status Session::keep(bool turn, std::span<const float> logits) {
  if (checkpoints_.limit() == 0) return {};
  checkpoints_.make_room(length());
  auto memory = sequence_.snapshot(model::SnapshotContent::kRecurrent);
  if (!memory)
    return memory.error().kind == ErrorKind::kTooLarge ? Status{} : fail(std::move(memory.error()));
  checkpoints_.add({length(),
                    turn,
                    std::make_shared<const model::Snapshot>(std::move(*memory)),
                    {logits.begin(), logits.end()}});
  return {};
}

Status Session::keep_turn(bool with_logits) {
  const std::span<const float> logits = with_logits ? logits_ : std::span<const float>();
  if (length() > 0 && checkpoints_.newest() == length()) {
    checkpoints_.mark_turn(logits);
    return {};
  }
  return length() - checkpoints_.newest() >= kWorthACopy ? keep(true, logits) : Status{};
}

void Session::go_back(int64_t position) {
  const Checkpoints::Entry* entry = checkpoints_.nearest(position);
  // The sequence itself may reach further, or hold what the checkpoint needs no longer.
  if (!entry || position == length() || !sequence_.restore(*entry->memory))
    sequence_.rewind(std::min(position, length()));
  tokens_.resize(static_cast<size_t>(length()));
  checkpoints_.truncate(length());
  logits_.clear();
}

void Session::truncate(int64_t length) {
  SLUICE_CHECK(length >= 0 && length <= this->length(), "truncate beyond the end");
  go_back(length);
}

Result<Session::Checkpoint> Session::checkpoint() const {
  SLUICE_ASSIGN(model::Snapshot memory, sequence_.snapshot(model::SnapshotContent::kRecurrent));
  return Checkpoint{std::move(memory), tokens_};
}

Status Session::restore(const Checkpoint& checkpoint) {
  SLUICE_TRY(sequence_.restore(checkpoint.memory));
  tokens_ = checkpoint.tokens;
  checkpoints_.truncate(length());
  logits_.clear();
  return {};
}

// --- kept elsewhere ---

Result<Session::Saved> Session::save() const {
  return or_no_memory([&]() -> Result<Saved> {
    SLUICE_ASSIGN(model::Snapshot memory, sequence_.snapshot(model::SnapshotContent::kAll));
    const auto entries = checkpoints_.entries();
    return Saved{tokens_, std::move(memory), {entries.begin(), entries.end()}};
  });
}

// What the model's memory does not know of itself.
Status Session::check(const Saved& saved) const {
  const model::SnapshotHeader& memory = saved.memory.header();
  if (memory.content != model::SnapshotContent::kAll ||
      memory.length != static_cast<int64_t>(saved.tokens.size()))
    return fail(ErrorKind::kBadFile, "memory of {} tokens for a text of {}", memory.length,
                saved.tokens.size());
  const int64_t vocabulary = engine_->model().config().vocabulary;
  for (const text::Token token : saved.tokens)
    if (token < 0 || token >= vocabulary)
      return fail(ErrorKind::kBadFile, "token id {} is outside the vocabulary of {}", token,
                  vocabulary);
  int64_t before = 0;
  for (const Checkpoints::Entry& entry : saved.checkpoints) {
    if (entry.position <= before || entry.position > memory.length ||
        entry.memory->header().content != model::SnapshotContent::kRecurrent ||
        entry.memory->length() != entry.position)
      return fail(ErrorKind::kBadFile, "a checkpoint at {} behind one at {} in a text of {}",
                  entry.position, before, memory.length);
    if (!entry.logits.empty() && static_cast<int64_t>(entry.logits.size()) != vocabulary)
      return fail(ErrorKind::kBadFile, "{} logits at {}, the vocabulary has {}",
                  entry.logits.size(), entry.position, vocabulary);
    before = entry.position;
  }
  return {};
}

Status Session::load(Saved saved) {
  return or_no_memory([&] { return load_all(saved); });
}

Status Session::load_all(Saved& saved) {
  SLUICE_TRY(check(saved));
  sequence_.make_room();
  if (Status done = sequence_.restore(saved.memory); !done) {
    // Half of it may have come.
    if (done.error().kind == ErrorKind::kDevice) truncate(0);
    return done;
  }
  tokens_ = std::move(saved.tokens);
  logits_.clear();
  checkpoints_.truncate(0);
  if (checkpoints_.limit() == 0) return {};
  const Status kept = or_no_memory([&]() -> Status {
    for (Checkpoints::Entry& entry : saved.checkpoints) {
      SLUICE_ASSIGN(model::Snapshot memory, sequence_.adopt(*entry.memory));
      entry.memory = std::make_shared<const model::Snapshot>(std::move(memory));
      checkpoints_.make_room(entry.position);
      checkpoints_.add(std::move(entry));
    }
    return {};
  });
  if (!kept) spdlog::warn("checkpoints of a saved text are left out: {}", kept.error().message);
  return {};
}

// --- reading a prompt ---

bool Session::recurrent() const {
  const model::Config& config = engine_->model().config();
  return config.attention_layers() < config.layers;
}

int64_t Session::common(std::span<const text::Token> tokens) const {
  const auto same = std::mismatch(tokens_.begin(), tokens_.end(), tokens.begin(), tokens.end());
  const int64_t common = same.first - tokens_.begin();
  if (common == length() || !recurrent()) return common;
  const Checkpoints::Entry* entry = checkpoints_.nearest(common);
  return entry ? entry->position : 0;
}

Result<int64_t> Session::begin(std::span<const text::Token> tokens) {
  return or_no_memory([&] { return begin_with(tokens); });
}

Result<int64_t> Session::begin_with(std::span<const text::Token> tokens) {
  const auto count = static_cast<int64_t>(tokens.size());
  const auto same = std::mismatch(tokens_.begin(), tokens_.end(), tokens.begin(), tokens.end());
  const int64_t common = same.first - tokens_.begin();
  if (common == length() && common < count) {
    SLUICE_TRY(keep_turn(false));
  } else {
    const Checkpoints::Entry* entry = checkpoints_.nearest(common);
    std::vector<float> logits;
    if (entry && entry->position == count) logits = entry->logits;
    // The last token is read again where its logits are not known.
    go_back(logits.empty() ? std::max<int64_t>(std::min(common, count - 1), 0) : common);
    if (length() == count) logits_ = std::move(logits);
  }
  SLUICE_TRY(check(tokens.subspan(static_cast<size_t>(length()))));
  stop_ = 0;
  return length();
}

std::span<const text::Token> Session::next_piece(std::span<const text::Token> tokens,
                                                 std::span<const int64_t> turns, int64_t most) {
  if (stop_ <= length()) {
    stop_ = static_cast<int64_t>(tokens.size());
    if (checkpoints_.limit() > 0)
      for (const int64_t turn : turns)
        if (turn > length() && turn < stop_ && turn - checkpoints_.newest() >= kWorthACut)
          stop_ = turn;
  }
  return tokens.subspan(static_cast<size_t>(length()),
                        static_cast<size_t>(std::min(most, stop_ - length())));
}

model::Chunk Session::chunk(std::span<const text::Token> piece) {
  make_room(piece.size());
  return {&sequence_, piece, false};
}

Status Session::took(std::span<const text::Token> piece, std::span<const float> logits, bool turn) {
  tokens_.insert(tokens_.end(), piece.begin(), piece.end());  // there is room
  return or_no_memory([&]() -> Status {
    if (logits.data() != logits_.data()) logits_.assign(logits.begin(), logits.end());
    if (checkpoints_.due(length())) SLUICE_TRY(keep(false, {}));
    return turn ? keep_turn(true) : Status{};
  });
}

Result<int64_t> Session::reuse(std::span<const text::Token> tokens, const std::atomic<bool>* cancel,
                               std::span<const int64_t> turns) {
  return or_no_memory([&] { return go_to(tokens, cancel, turns); });
}

Result<int64_t> Session::go_to(std::span<const text::Token> tokens, const std::atomic<bool>* cancel,
                               std::span<const int64_t> turns) {
  const auto count = static_cast<int64_t>(tokens.size());
  SLUICE_ASSIGN(const int64_t kept, begin(tokens));
  while (length() < count) {
    if (cancel && cancel->load(std::memory_order_relaxed))
      return fail(ErrorKind::kCancelled, "cancelled");
    const auto piece = next_piece(tokens, turns, engine_->options().ubatch);
    SLUICE_TRY(read(chunk(piece), nullptr));
    const bool turn = length() == count || std::ranges::find(turns, length()) != turns.end();
    if (checkpoints_.due(length())) SLUICE_TRY(keep(false, {}));
    if (turn) SLUICE_TRY(keep_turn(true));
  }
  return kept;
}

Result<bool> Session::take_over(const Session& other, std::span<const text::Token> tokens) {
  return or_no_memory([&] { return take_from(other, tokens); });
}

Result<bool> Session::take_from(const Session& other, std::span<const text::Token> tokens) {
  const auto same =
      std::mismatch(other.tokens_.begin(), other.tokens_.end(), tokens.begin(), tokens.end());
  int64_t position = same.first - other.tokens_.begin();
  const model::Snapshot* states = nullptr;
  std::vector<float> logits;
  // Of a whole prompt the logits are needed too: else its last token has to be read.
  const auto count = static_cast<int64_t>(tokens.size());
  if (recurrent() && (position < other.length() || position == count)) {
    const Checkpoints::Entry* entry = other.checkpoints_.nearest(position);
    if (entry && entry->position == count && entry->logits.empty())
      entry = other.checkpoints_.nearest(count - 1);
    position = entry ? entry->position : 0;
    if (entry) {
      states = entry->memory.get();
      logits = entry->logits;
    }
  }
  if (position > capacity() || position - common(tokens) < kWorthACut) return false;
  go_back(0);
  make_room(static_cast<size_t>(position));
  SLUICE_TRY(sequence_.copy(other.sequence_, position, states));
  tokens_.assign(tokens.begin(), tokens.begin() + position);
  SLUICE_TRY(keep(true, logits));
  return true;
}

}  // namespace sluice::engine
