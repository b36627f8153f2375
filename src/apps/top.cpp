// SPDX-License-Identifier: Apache-2.0
// sluice top: a server's machine in the terminal.
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>

#include "apps/commands.h"
#include "apps/machine_client.h"
#include "apps/machine_state.h"
#include "apps/options.h"
#include "apps/top_view.h"
#include "base/log.h"

namespace sluice::apps {
namespace {

constexpr int kPatience = 250;  // ms until the terminal's size is looked at again
constexpr std::chrono::seconds kRetry{2};
constexpr std::chrono::seconds kFirstEvents{10};

struct TopFlags {
  ServerAddress address;
  bool once = false;
};

std::vector<Flag> top_flags(TopFlags& o) {
  return {
      {"--once",
       {},
       "",
       "",
       "print one picture and end, without colours where that is no terminal",
       [&o](const std::string& text) -> Status {
         o.once = text == "true";
         return {};
       }},
      {"--api-key",
       {},
       "",
       "KEY",
       "the server's key; others can see it in the list of processes: better a file, or "
       "SLUICE_API_KEY",
       [&o](const std::string& text) -> Status {
         o.address.key = text;
         return {};
       }},
      {"--api-key-file",
       {},
       "API_KEY_FILE",
       "FILE",
       "the same from a file's first line",
       [&o](const std::string& path) -> Status {
         SLUICE_ASSIGN(const std::string text, read_text_file(path));
         o.address.key = text.substr(0, text.find_first_of("\r\n"));
         if (o.address.key.empty()) return fail(ErrorKind::kUsage, "holds no key");
         return {};
       }},
      {"--ca-file",
       {},
       "",
       "FILE",
       "PEM certificates to trust, for HTTPS (the system's)",
       [&o](const std::string& path) -> Status {
         if (access(path.c_str(), R_OK) != 0) return fail(ErrorKind::kUsage, "cannot be read");
         o.address.ca_file = path;
         return {};
       }},
  };
}

// Takes the terminal over, and gives it back however this ends.
class Screen {
 public:
  Screen() {
    tcgetattr(STDIN_FILENO, &before_);
    termios now = before_;
    now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    now.c_cc[VMIN] = 0;
    now.c_cc[VTIME] = 0;
    now.c_cc[VSUSP] = _POSIX_VDISABLE;  // it would leave the shell with this picture
    tcsetattr(STDIN_FILENO, TCSANOW, &now);
    (void)print_out("\x1b[?1049h\x1b[?25l");  // another screen, without the cursor
  }
  ~Screen() {
    (void)print_out("\x1b[?25h\x1b[?1049l");
    tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Without a moment in which it is empty.
  static Status show(const std::string& lines) {
    // Each line is cleared before it is written: behind a full one there is no place to clear from.
    std::string text = "\x1b[?2026h\x1b[H\x1b[K";
    for (const char c : lines) {
      text += c;
      if (c == '\n') text += "\x1b[K";
    }
    return print_out(text + "\x1b[J\x1b[?2026l");
  }

 private:
  termios before_{};
};

ViewOptions view_of_terminal() {
  ViewOptions view;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    view.columns = size.ws_col;
    view.rows = size.ws_row;
  }
  return view;
}

bool wants_colours() {
  const char* none = std::getenv("NO_COLOR");
  return !none || !*none;
}

// The first event tells where everything is, the second one what moves.
Status show_once(MachineClient& client, MachineState& state) {
  SLUICE_TRY(client.open());
  const auto deadline = std::chrono::steady_clock::now() + kFirstEvents;
  for (int seen = 0; seen < 2;) {
    if (std::chrono::steady_clock::now() > deadline)
      return fail(ErrorKind::kIo, "the server sends no events: is it stopped?");
    SLUICE_ASSIGN(const auto events, client.events(-1, kPatience));
    for (const std::string& event : events) {
      SLUICE_TRY(apply_event(event, state));
      ++seen;
    }
  }
  ViewOptions view = view_of_terminal();
  view.colours = isatty(STDOUT_FILENO) == 1 && wants_colours();
  if (isatty(STDOUT_FILENO) != 1) view.columns = 132;
  view.rows = 0;
  return print_out(draw_machine(state, view));
}

bool asked_to_quit() {
  std::array<char, 64> keys{};
  const ssize_t count = read(STDIN_FILENO, keys.data(), keys.size());
  for (ssize_t i = 0; i < count; ++i)
    if (const char key = keys[static_cast<size_t>(i)]; key == 'q' || key == 'Q' || key == 4)
      return true;
  return interrupted;
}

Status watch(MachineClient& client, MachineState& state) {
  catch_interrupts();
  // The terminal is given back first.
  for (const int number : {SIGTERM, SIGHUP}) std::signal(number, [](int) { interrupted = true; });
  const Screen screen;
  std::optional<std::chrono::steady_clock::time_point> retry;  // while the server is away
  SLUICE_TRY(client.open());
  while (!asked_to_quit()) {
    std::string notice;
    if (retry) {
      if (std::chrono::steady_clock::now() >= *retry) {
        // Perhaps another model by now.
        if (const auto description = client.description()) {
          SLUICE_ASSIGN(state, read_machine(*description));
          SLUICE_TRY(client.open());
          retry.reset();
        } else {
          retry = std::chrono::steady_clock::now() + kRetry;
        }
      } else {
        usleep(100'000);
      }
    }
    if (!retry) {
      const auto events = client.events(STDIN_FILENO, kPatience);
      if (events) {
        for (const std::string& event : *events) SLUICE_TRY(apply_event(event, state));
      } else if (events.error().kind == ErrorKind::kIo) {
        retry = std::chrono::steady_clock::now() + kRetry;
      } else {
        return fail(events.error());
      }
    }
    ViewOptions view = view_of_terminal();
    view.colours = wants_colours();
    if (view.rows > 1) --view.rows;
    const char* last = retry ? "the server is away; q quits" : "q quits";
    SLUICE_TRY(Screen::show(draw_machine(state, view) +
                            std::string(last).substr(0, static_cast<size_t>(view.columns))));
  }
  return {};
}

}  // namespace

Status top_command(const Arguments& arguments) {
  TopFlags flags;
  for (const char* name : {"SLUICE_API_KEY", "LLAMA_API_KEY"})
    if (const char* key = std::getenv(name); key && *key) {
      flags.address.key = std::string(key).substr(0, std::string_view(key).find(','));
      break;
    }
  std::vector<std::string> positional;
  SLUICE_ASSIGN(const bool go, parse_flags("top",
                                           "What a server's machine does: sluice top [URL] "
                                           "(http://127.0.0.1:8080). q quits.",
                                           top_flags(flags), arguments, &positional));
  if (!go) return {};
  if (positional.size() > 1) return fail(ErrorKind::kUsage, "{}: one URL at a time", positional[1]);
  if (!positional.empty()) flags.address.url = positional[0];
  SLUICE_ASSIGN(const auto client, MachineClient::create(flags.address));
  SLUICE_ASSIGN(const std::string description, client->description());
  SLUICE_ASSIGN(MachineState state, read_machine(description));
  if (flags.once) return show_once(*client, state);
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
    return fail(ErrorKind::kUsage, "needs a terminal; --once prints one picture elsewhere");
  return watch(*client, state);
}

}  // namespace sluice::apps
