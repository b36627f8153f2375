// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <exception>
#include <new>
#include <utility>

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace sluice::text {

namespace {

constexpr size_t kMaxSourceBytes = size_t{1} << 20;
constexpr size_t kMaxMessageBytes = 400;

// One line of bounded length, since parts of it may come from the template or a conversation.
std::string one_line(std::string_view text) {
  std::string result(text.substr(0, kMaxMessageBytes));
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return result;
}

tl::unexpected<Error> to_error(const jinja::Failure& failure) {
  const std::string where = failure.at.line == 0 ? std::string()
                                                 : fmt::format(", line {}, column {}",
                                                               failure.at.line, failure.at.column);
  return fail(failure.kind, "chat template{}: {}", where, one_line(failure.message));
}

// Runs `work`, which may throw, and turns what it throws into an Error.
template <typename Work>
auto guarded(Work work) -> Result<decltype(work())> {
  try {
    return work();
  } catch (const jinja::Failure& failure) {
    return to_error(failure);
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::kTooLarge, "chat template: out of memory");
  } catch (const std::exception& error) {
    return fail(ErrorKind::kUsage, "chat template: {}", one_line(error.what()));
  }
}

std::vector<Segment> to_segments(const jinja::Text& text) {
  std::vector<Segment> result;
  size_t at = 0;
  const auto add = [&](size_t end, bool trusted) {
    if (end > at) result.push_back({text.bytes.substr(at, end - at), trusted});
    at = end;
  };
  for (const jinja::Range& range : text.untrusted) {
    add(range.begin, true);
    add(range.end, false);
  }
  add(text.size(), true);
  return result;
}

}  // namespace

struct ChatTemplate::Impl {
  std::string source;
  TemplateLimits limits;
  TemplateClock clock;
  jinja::Body body;

  Result<jinja::Text> render(const nlohmann::ordered_json& context) const {
    return guarded([&] { return jinja::Interpreter(limits, clock).render(body, context); });
  }
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string source, const TemplateLimits& limits,
                                         TemplateClock clock) {
  if (source.size() > kMaxSourceBytes) {
    return fail(ErrorKind::kTooLarge, "chat template: {} bytes of source, at most {} are read",
                source.size(), kMaxSourceBytes);
  }
  auto impl = std::make_unique<Impl>();
  impl->source = std::move(source);
  impl->limits = limits;
  impl->clock = clock ? std::move(clock) : TemplateClock(std::chrono::system_clock::now);
  SLUICE_ASSIGN(impl->body,
                guarded([&] { return jinja::Parser(impl->source, limits.depth).parse(); }));
  return ChatTemplate(std::move(impl));
}

Result<std::vector<Segment>> ChatTemplate::render(const nlohmann::ordered_json& context) const {
  SLUICE_ASSIGN(const jinja::Text text, impl_->render(context));
  return to_segments(text);
}

Result<std::string> ChatTemplate::render_text(const nlohmann::ordered_json& context) const {
  SLUICE_ASSIGN(jinja::Text text, impl_->render(context));
  return std::move(text.bytes);
}

const std::string& ChatTemplate::source() const {
  return impl_->source;
}

}  // namespace sluice::text
