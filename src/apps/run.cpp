// SPDX-License-Identifier: Apache-2.0
// sluice run: one answer, or a conversation.
#include "apps/run.h"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <limits>

#include "apps/commands.h"
#include "base/log.h"
#include "engine/chat.h"
#include "engine/session_memory.h"

namespace sluice::apps {
namespace {

// \n, \t, \", \\ and the like in -p, as llama.cpp processes them by default.
std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    switch (text[++i]) {
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      case 't':
        out += '\t';
        break;
      case '\'':
        out += '\'';
        break;
      case '"':
        out += '"';
        break;
      case '\\':
        out += '\\';
        break;
      default:
        out += '\\';
        out += text[i];
    }
  }
  return out;
}

Flag text_flag(const char* name, std::vector<std::string> aliases, const char* value,
               const char* help, std::function<void(const std::string&)> set) {
  return {name,
          std::move(aliases),
          "",
          value,
          help,
          [set = std::move(set)](const std::string& text) -> Status {
            set(text);
            return {};
          }};
}

Flag file_flag(const char* name, std::vector<std::string> aliases, const char* help,
               std::function<void(std::string)> set) {
  return {name,
          std::move(aliases),
          "",
          "FILE",
          help,
          [set = std::move(set)](const std::string& path) -> Status {
            SLUICE_ASSIGN(std::string text, read_text_file(path));
            set(std::move(text));
            return {};
          }};
}

Flag switch_flag(const char* name, std::vector<std::string> aliases, const char* help,
                 std::function<void(bool)> set) {
  return {name,
          std::move(aliases),
          "",
          "",
          help,
          [set = std::move(set)](const std::string& text) -> Status {
            set(text == "true");
            return {};
          }};
}

std::vector<Flag> run_flags(RunOptions& o, std::string& prompt_file) {
  std::vector<Flag> flags = model_flags(o.common);
  engine::EngineOptions& e = o.common.engine;
  std::vector<Flag> more = {
      text_flag("--prompt", {"-p"}, "TEXT", "what to answer or continue",
                [&](const std::string& t) { o.prompt = t; }),
      text_flag("--file", {"-f"}, "FILE", "the prompt from a file; - is standard input",
                [&](const std::string& t) { prompt_file = t; }),
      text_flag("--system-prompt", {"-sys"}, "TEXT", "system message",
                [&](const std::string& t) { o.system = t; }),
      file_flag("--system-prompt-file", {"-sysf"}, "system message from a file",
                [&](std::string t) { o.system = std::move(t); }),
      {"--n-predict",
       {"-n", "--predict"},
       "N_PREDICT",
       "N",
       "most tokens of an answer; -1: no limit",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(o.predict, parse_integer(text, -2, INT32_MAX));
         return {};
       }},
      text_flag("--reverse-prompt", {"-r"}, "TEXT", "stop when this text comes; may be repeated",
                [&](const std::string& t) { o.stop.push_back(t); }),
      switch_flag("--conversation", {"-cnv"},
                  "use the chat template (default where the file has one)",
                  [&](bool on) { o.conversation = on; }),
      switch_flag("--interactive", {"-i"}, "go on chatting after -p",
                  [&](bool on) { o.interactive = on; }),
      switch_flag("--single-turn", {"-st"}, "end after one answer",
                  [&](bool on) { o.single_turn = on; }),
      switch_flag("--multiline-input", {"-mli"}, "chat: a message ends with an empty line",
                  [&](bool on) { o.multiline = on; }),
      switch_flag("--display-prompt", {}, "plain continuation: show the prompt too",
                  [&](bool on) { o.display_prompt = on; }),
      switch_flag("--special", {"-sp"}, "show control tokens",
                  [&](bool on) { o.show_special = on; }),
      switch_flag("--show-timings", {}, "last line with speeds (on)",
                  [&](bool on) { o.show_timings = on; }),
      {"--ctx-checkpoints",
       {"-ctxcp", "--swa-checkpoints"},
       "CTX_CHECKPOINTS",
       "N",
       "chat, models with recurrent layers: most points to come back to (32)",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(o.checkpoints.count, parse_integer(text, 0, INT32_MAX));
         return {};
       }},
      {"--checkpoint-min-step",
       {"-cms", "--checkpoint-every-n-tokens", "-cpent"},
       "CHECKPOINT_MIN_SPACING_NT",
       "N",
       "tokens between them within a text; -1: only between turns (512)",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(o.checkpoints.step, parse_integer(text, -1, INT32_MAX));
         return {};
       }},
      {"--cache-ram",
       {"-cram"},
       "CACHE_RAM",
       "MIB",
       "most memory for them; -1: no limit (1024)",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(const int64_t mebibytes, parse_integer(text, -1, INT32_MAX));
         o.checkpoints.bytes = mebibytes < 0 ? std::numeric_limits<uint64_t>::max()
                                             : static_cast<uint64_t>(mebibytes) << 20;
         return {};
       }},
      {"--spec-type",
       {},
       "SPEC_TYPE",
       "none|draft-mtp",
       "guess tokens ahead; default: with the model's own block where the file has one",
       [&o](const std::string& text) -> Status {
         if (text != "none" && text != "draft-mtp" && text != "mtp")
           return fail(ErrorKind::kUsage, "must be none or draft-mtp");
         o.guess = text != "none";
         return {};
       }},
      {"--spec-draft-n-max",
       {},
       "SPEC_DRAFT_N_MAX",
       "N",
       "most tokens to guess at once, fewer where that is faster; 0: none (3)",
       [&o](const std::string& text) -> Status {
         SLUICE_ASSIGN(o.most_guesses, parse_integer(text, 0, model::Sequence::kMostAhead - 1));
         return {};
       }},
      text_flag("--grammar", {}, "GBNF", "answers follow this grammar",
                [&](const std::string& t) { o.grammar = t; }),
      file_flag("--grammar-file", {}, "a grammar from a file",
                [&](std::string t) { o.grammar = std::move(t); }),
      text_flag("--json-schema", {"-j"}, "SCHEMA",
                "answers are JSON documents of this schema; {}: any document",
                [&](const std::string& t) { o.json_schema = t; }),
      file_flag("--json-schema-file", {"-jf"}, "a JSON schema from a file",
                [&](std::string t) { o.json_schema = std::move(t); }),
      text_flag("--trace", {}, "FILE", "record which experts are used, for sluice replay",
                [&](const std::string& t) { o.trace = t; }),
      text_flag("--timeline", {}, "FILE", "record when experts came, were computed and left",
                [&](const std::string& t) { o.timeline = t; }),
      switch_flag("--escape", {"-e"}, "\\n and the like in -p (on)",
                  [&](bool on) { o.escape = on; }),
      switch_flag("--jinja", {}, "templates are always Jinja", [](bool) {}),
      switch_flag("--simple-io", {}, "no line editing is needed for pipes", [](bool) {}),
      switch_flag("--color", {"-co"}, "output is not coloured", [](bool) {}),
      text_flag("--chat-template", {}, "JINJA", "template instead of the file's",
                [&](const std::string& t) { e.chat_template = t; }),
      file_flag("--chat-template-file", {}, "template from a file",
                [&](std::string t) { e.chat_template = std::move(t); }),
      {"--chat-template-kwargs",
       {},
       "CHAT_TEMPLATE_KWARGS",
       "JSON",
       "variables for the template, e.g. {\"enable_thinking\": false}",
       [&o](const std::string& text) -> Status {
         o.template_kwargs = nlohmann::ordered_json::parse(text, nullptr, false);
         if (!o.template_kwargs.is_object())
           return fail(ErrorKind::kUsage, "must be a JSON object");
         return {};
       }},
  };
  flags.insert(flags.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
  std::vector<Flag> sampling = sampling_flags(o.common);
  flags.insert(flags.end(), std::make_move_iterator(sampling.begin()),
               std::make_move_iterator(sampling.end()));
  return flags;
}

Status one_shot(engine::Session& session, const RunOptions& options, bool with_template) {
  const engine::Engine& engine = session.engine();
  SLUICE_ASSIGN(engine::Sampler sampler,
                engine.make_sampler(options.common.apply_sampling(engine.default_sampling())));
  std::vector<text::Token> prompt;
  if (with_template) {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    if (!options.system.empty())
      messages.push_back({{"role", "system"}, {"content", options.system}});
    messages.push_back({{"role", "user"}, {"content", *options.prompt}});
    engine::ChatOptions chat_options;
    chat_options.kwargs = options.template_kwargs;
    SLUICE_ASSIGN(prompt, engine::render_chat(engine, messages, chat_options));
  } else {
    prompt =
        engine.tokenizer().encode(options.system + *options.prompt, text::SpecialTokens::kParse);
    if (options.display_prompt) SLUICE_TRY(print_out(*options.prompt));
  }
  catch_interrupts();
  return answer(session, sampler, prompt, {}, options).map([](const auto&) {});
}

// What --trace and --timeline ask for; records until finish().
class Recording {
 public:
  static Result<Recording> start(const engine::Engine& engine, const RunOptions& options) {
    Recording recording(engine.model().experts());
    const model::Config& config = engine.model().config();
    if (config.experts == 0 && !(options.trace.empty() && options.timeline.empty()))
      return fail(ErrorKind::kUsage, "{}: {} has no experts",
                  options.trace.empty() ? "--timeline" : "--trace", engine.options().model_path);
    const auto layers = static_cast<int32_t>(config.layers + config.draft_layers);
    const auto experts = static_cast<int32_t>(config.experts);
    if (!options.trace.empty()) {
      SLUICE_ASSIGN(residency::TraceWriter trace,
                    residency::TraceWriter::create(options.trace, layers, experts));
      recording.trace_ = std::make_unique<residency::TraceWriter>(std::move(trace));
    }
    if (!options.timeline.empty()) {
      recording.timeline_ =
          std::make_unique<residency::Timeline>(layers, experts, recording.experts_->slots());
      recording.path_ = options.timeline;
    }
    recording.experts_->record_to(recording.trace_.get());
    recording.experts_->record_to(recording.timeline_.get());
    return recording;
  }

  Recording(Recording&& other) noexcept = default;
  ~Recording() { stop(); }

  Status finish() {
    stop();
    if (trace_) SLUICE_TRY(trace_->finish());
    return timeline_ ? timeline_->write(path_) : Status{};
  }

 private:
  explicit Recording(residency::ExpertCache& experts) : experts_(&experts) {}
  void stop() {
    if (trace_) experts_->record_to(static_cast<residency::TraceWriter*>(nullptr));
    if (timeline_) experts_->record_to(static_cast<residency::Timeline*>(nullptr));
  }

  residency::ExpertCache* experts_;
  std::unique_ptr<residency::TraceWriter> trace_;
  std::unique_ptr<residency::Timeline> timeline_;
  std::string path_;
};

// How the experts came and went, where they do: of the whole run so far.
void tell_experts(const engine::Engine& engine) {
  const residency::CacheStatistics s = engine.model().experts().statistics();
  if (engine.plan().all_experts() && s.evictions == 0) return;
  const double gibibytes = static_cast<double>(s.bytes_read) / (uint64_t{1} << 30);
  const double reading = std::chrono::duration<double>(s.reading).count();
  const double stalled = std::chrono::duration<double>(s.stalled).count();
  std::string line = fmt::format(
      "[ Experts: {:.1f} % of {} were in memory | read {:.2f} GiB at {:.2f} GiB/s | waited {:.2f} "
      "s",
      100.0 * static_cast<double>(s.hits) / static_cast<double>(std::max<uint64_t>(1, s.requests)),
      s.requests, gibibytes, reading > 0 ? gibibytes / reading : 0.0, stalled);
  if (s.given_back > 0)
    line += fmt::format(" | memory is short: {:.2f} GiB given back",
                        static_cast<double>(s.given_back) / (uint64_t{1} << 30));
  std::fprintf(stderr, "%s ]\n", line.c_str());
}

// Compares an answer with what a plan would have said of it, where nothing was guessed ahead and
// the cache was warm.
void learn(Learning& learning, const engine::Engine& engine, const engine::GenerateResult& result,
           const residency::CacheStatistics& at_first_text) {
  constexpr int64_t kLeastTokens = 32;
  if (result.guessed_tokens > 0) return;
  const bool all = engine.plan().all_experts();
  const int64_t read = result.prompt_tokens - result.reused_tokens;
  if (all && read >= kLeastTokens)
    learning.measured(read, 0, result.reused_tokens, engine.options().ubatch, result.prompt_seconds,
                      0);
  const int64_t generated = result.generated_tokens - 1;
  if (generated < kLeastTokens || (!all && at_first_text.evictions == 0)) return;
  const auto stalled = engine.model().experts().statistics().stalled - at_first_text.stalled;
  learning.measured(0, generated, result.prompt_tokens, engine.options().ubatch,
                    result.generate_seconds, std::chrono::duration<double>(stalled).count());
}

// What the session takes, for those who want to know (-lv 3); a warning where there is no room for
// what makes follow-up turns fast.
void tell_memory(const engine::Session& session, const RunOptions& options) {
  const engine::Engine& engine = session.engine();
  const auto mebibytes = [](uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  const engine::SessionMemory memory = engine::session_memory(
      engine.model().config(), session.capacity(), engine.options().cache, options.checkpoints);
  std::string line = fmt::format(
      "memory: weights {:.2f} MiB, keys and values of {} positions {:.2f} MiB",
      mebibytes(engine.model().weight_bytes()), session.capacity(), mebibytes(memory.cache));
  if (memory.states > 0) line += fmt::format(", states {:.2f} MiB", mebibytes(memory.states));
  if (memory.ahead > 0) line += fmt::format(", reading ahead {:.2f} MiB", mebibytes(memory.ahead));
  if (memory.checkpoints > 0)
    line += fmt::format(", checkpoints up to {} x {:.2f} = {:.2f} MiB", memory.checkpoints,
                        mebibytes(memory.checkpoint), mebibytes(memory.all_checkpoints()));
  else if (memory.states > 0 && options.checkpoints.count > 0)
    spdlog::warn(
        "--cache-ram {:.0f}: one checkpoint takes {:.0f}; without, changed text is read again from "
        "the beginning",
        mebibytes(options.checkpoints.bytes), std::ceil(mebibytes(memory.checkpoint)));
  spdlog::info("{}", line);
}

// What answers must look like, with warnings for what of a schema they are not held to.
Status make_constraint(const engine::Engine& engine, RunOptions& options) {
  if (!options.grammar && !options.json_schema) return {};
  const auto vocabulary = engine.grammar_vocabulary();
  SLUICE_ASSIGN(engine::Constraint constraint,
                options.grammar ? engine::Constraint::from_gbnf(vocabulary, *options.grammar)
                                : engine::Constraint::from_schema(
                                      vocabulary, std::string_view(*options.json_schema)));
  for (const text::grammar::SchemaNote& note : constraint.notes())
    spdlog::warn("JSON schema: {}", text::grammar::describe(note));
  options.constraint = std::make_shared<engine::Constraint>(std::move(constraint));
  return {};
}

}  // namespace

Result<engine::GenerateResult> answer(engine::Session& session, engine::Sampler& sampler,
                                      std::span<const text::Token> prompt,
                                      std::vector<int64_t> turns, const RunOptions& options) {
  engine::GenerateOptions generate;
  generate.max_tokens = options.predict < 0 ? -1 : options.predict;
  generate.stop = options.stop;
  generate.show_special = options.show_special;
  generate.turns = std::move(turns);
  generate.drafts = options.drafts.get();
  generate.constraint = options.constraint.get();
  Status written;
  bool any_text = false;
  const residency::ExpertCache& experts = session.engine().model().experts();
  residency::CacheStatistics at_first_text;
  const auto sink = [&](std::string_view text) {
    if (!any_text) at_first_text = experts.statistics();
    any_text = true;
    if (written) written = print_out(text);
    if (!written) interrupted = true;  // nobody reads: stop
  };
  interrupted = false;
  auto result = engine::generate(session, sampler, prompt, generate, sink, &interrupted);
  interrupted = false;
  if (!written) return fail(std::move(written.error()));
  if (!result) {
    if (any_text) SLUICE_TRY(print_out("\n"));
    return result;
  }
  SLUICE_TRY(print_out("\n"));
  if (options.learning) learn(*options.learning, session.engine(), *result, at_first_text);
  if (!options.show_timings) return result;

  const auto rate = [](int64_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
  };
  const int64_t read = result->prompt_tokens - result->reused_tokens;
  std::string line = fmt::format(
      "[ Prompt: {} tokens, {:.1f} t/s | Generation: {} tokens, {:.1f} t/s | First token: {:.3f} s",
      read, rate(read, result->prompt_seconds), result->generated_tokens,
      rate(result->generated_tokens - 1, result->generate_seconds), result->first_token_seconds);
  if (result->guessed_tokens > 0)
    line += fmt::format(" | Guessed ahead: {} tokens, {} right", result->guessed_tokens,
                        result->right_guesses);
  if (result->reason == engine::FinishReason::kContext)
    line += fmt::format(" | stopped: the context of {} is full, see -c", session.capacity());
  if (result->reason == engine::FinishReason::kCancelled) line += " | stopped on request";
  tell_experts(session.engine());
  std::fprintf(stderr, "%s ]\n", line.c_str());
  return result;
}

Status run_command(const Arguments& arguments) {
  RunOptions options;
  std::string prompt_file;
  SLUICE_ASSIGN(const bool go,
                parse_flags("run", "Answers a prompt (-p, -f), or chats when none is given.",
                            run_flags(options, prompt_file), arguments));
  if (!go) return {};
  init_logging(options.common.verbosity);
  SLUICE_TRY(find_model(options.common));
  if (options.prompt && !prompt_file.empty())
    return fail(ErrorKind::kUsage, "give one of -p and -f");
  if (options.grammar && options.json_schema)
    return fail(ErrorKind::kUsage, "give one of --grammar and --json-schema");
  if (options.prompt && options.escape) options.prompt = unescape(*options.prompt);
  if (!prompt_file.empty()) {
    SLUICE_ASSIGN(options.prompt, read_text_file(prompt_file));
  }
  if (options.prompt && options.prompt->empty())
    return fail(ErrorKind::kUsage,
                "the prompt is empty: give at least one character with -p or -f");

  options.common.engine.checkpoints = options.checkpoints;
  options.common.engine.drafts = options.guess.value_or(true) && options.most_guesses > 0;
  SLUICE_ASSIGN(const std::unique_ptr<engine::Engine> engine,
                engine::Engine::load(options.common.engine));
  if (engine->model().can_draft())
    options.drafts = std::make_shared<engine::DraftPolicy>(options.most_guesses);
  else if (options.guess.value_or(false))
    spdlog::warn("--spec-type draft-mtp: {} has no block for multi-token prediction",
                 options.common.engine.model_path);
  spdlog::info("{}; context {}", engine->backend().describe(), engine->context());
  if (!engine->reading().description.empty()) spdlog::info("{}", engine->reading().description);
  SLUICE_TRY(make_constraint(*engine, options));
  SLUICE_ASSIGN(engine::Session session, engine::Session::create(*engine));
  SLUICE_ASSIGN(Recording recording, Recording::start(*engine, options));
  const auto chat_template = engine->chat_template();
  const bool with_template = options.conversation.value_or(chat_template.has_value());
  if (with_template && !chat_template) return fail(chat_template.error());
  options.learning = std::make_shared<Learning>(Learning::of(*engine));
  const auto finish = [&](Status status) -> Status {
    remember_usage(*engine);
    options.learning->remember();
    SLUICE_TRY(status);
    return recording.finish();
  };
  const bool one_answer = options.prompt && !(with_template && options.interactive);
  if (one_answer || options.single_turn)
    options.checkpoints.count = 0;  // nothing follows that could go back
  session.keep_checkpoints(options.checkpoints);
  tell_memory(session, options);
  if (one_answer) return finish(one_shot(session, options, with_template));
  if (!with_template)
    return fail(chat_template ? Error{ErrorKind::kUsage, "no prompt: give one with -p or -f"}
                              : chat_template.error());
  return finish(chat(session, options));
}

}  // namespace sluice::apps
