// SPDX-License-Identifier: Apache-2.0
// sluice completion: what shells and man want to know, from the tables that parse the flags.
#include <algorithm>
#include <string_view>

#include "apps/commands.h"
#include "apps/options.h"

namespace sluice::apps {
namespace {

struct CommandTable {
  std::string name;  // "eval logits"
  std::string description;
  std::vector<Flag> flags;
};

std::vector<CommandTable> read_all() {
  std::vector<CommandTable> out;
  const TableReader reader = [&](const std::string& name, const std::string& description,
                                 const std::vector<Flag>& flags) {
    out.push_back({name, description, flags});
  };
  table_reader = &reader;
  for (const Command& command : commands())
    for (const Arguments& arguments :
         command.parts.empty() ? std::vector<Arguments>{{}} : command.parts)
      command.run(arguments);  // only hands over its table
  table_reader = nullptr;
  return out;
}

bool is_switch(const Flag& flag) {
  return flag.value.empty();
}

std::vector<std::string> names_of(const Flag& flag) {
  std::vector<std::string> names = flag.aliases;
  names.push_back(flag.name);
  return names;
}

std::string first_word(const std::string& text) {
  return text.substr(0, text.find(' '));
}

// Within single quotes of a shell.
std::string shell_text(std::string_view text, bool fish = false) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += fish ? "\\'" : "'\\''";
    else if (c == '\\' && fish)
      out += "\\\\";
    else
      out += c;
  }
  return out + "'";
}

std::string command_names() {
  std::vector<const char*> names;
  for (const Command& command : commands()) names.push_back(command.name);
  return fmt::format("{}", fmt::join(names, " "));
}

std::string bash(const std::vector<CommandTable>& tables) {
  std::string out =
      "# bash completion of sluice\n"
      "_sluice() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} flags= files=\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W \"" +
      command_names() +
      " help version\" -- \"$cur\"))\n"
      "    return\n"
      "  fi\n"
      "  case ${COMP_WORDS[1]} in\n";
  for (const Command& command : commands()) {
    std::string flags, files, parts;
    for (const CommandTable& table : tables) {
      if (first_word(table.name) != command.name) continue;
      if (table.name != command.name) parts += table.name.substr(table.name.find(' ') + 1) + " ";
      for (const Flag& flag : table.flags)
        for (const std::string& name : names_of(flag)) {
          flags += name + " ";
          if (!is_switch(flag) && flag.value != "FILE") files += name + "|";
        }
    }
    out += fmt::format("    {}) flags={}", command.name, shell_text(flags + "--help"));
    if (!files.empty()) out += fmt::format(" files={}", shell_text(fmt::format("|{}", files)));
    if (!parts.empty())
      out += fmt::format(
          "\n      if [ \"$COMP_CWORD\" -eq 2 ]; then\n        "
          "COMPREPLY=($(compgen -W \"{}\" -- \"$cur\"))\n        return\n      fi",
          parts);
    out += " ;;\n";
  }
  return out +
         "  esac\n"
         "  case $cur in\n"
         "    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\")) ;;\n"
         "    *) case $files in\n"
         "         *\"|$prev|\"*) ;;\n"
         "         *) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
         "       esac ;;\n"
         "  esac\n"
         "}\n"
         "complete -o filenames -F _sluice sluice\n";
}

std::string fish(const std::vector<CommandTable>& tables) {
  std::string out = "# fish completion of sluice\n";
  for (const Command& command : commands())
    out += fmt::format("complete -c sluice -n __fish_use_subcommand -f -a {} -d {}\n", command.name,
                       shell_text(command.description, true));
  for (const CommandTable& table : tables) {
    const std::string command = first_word(table.name);
    for (const Flag& flag : table.flags) {
      out += fmt::format("complete -c sluice -n '__fish_seen_subcommand_from {}'", command);
      for (const std::string& name : names_of(flag)) {
        if (name.starts_with("--"))
          out += fmt::format(" -l {}", name.substr(2));
        else
          out += fmt::format(" -{} {}", name.size() == 2 ? 's' : 'o', name.substr(1));
      }
      if (!is_switch(flag)) out += flag.value == "FILE" ? " -r" : " -x";
      out += fmt::format(" -d {}\n", shell_text(flag.help, true));
    }
  }
  return out;
}

// Of _arguments: brackets, colons and quotes mean something there.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("[]:\\").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string zsh(const std::vector<CommandTable>& tables) {
  std::string out =
      "#compdef sluice\n"
      "_sluice() {\n"
      "  local -a commands\n"
      "  commands=(\n";
  for (const Command& command : commands())
    out += fmt::format(
        "    {}\n", shell_text(fmt::format("{}:{}", command.name, zsh_text(command.description))));
  out +=
      "  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  local command=$words[2]\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $command in\n";
  for (const Command& command : commands()) {
    out += fmt::format("    {})\n      _arguments \\\n", command.name);
    std::vector<std::string> seen;
    for (const CommandTable& table : tables) {
      if (first_word(table.name) != command.name) continue;
      for (const Flag& flag : table.flags)
        for (const std::string& name : names_of(flag)) {
          if (std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
          seen.push_back(name);
          std::string line = fmt::format("*{}[{}]", name, zsh_text(flag.help));
          if (!is_switch(flag))
            line +=
                fmt::format(":{}:{}", zsh_text(flag.value), flag.value == "FILE" ? "_files" : "");
          out += fmt::format("        {} \\\n", shell_text(line));
        }
    }
    out += "        '*:file:_files' ;;\n";
  }
  return out + "  esac\n}\n_sluice \"$@\"\n";
}

// For roff: dashes that can be copied, and no line that begins with a request.
std::string roff(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '-')
      out += "\\-";
    else if (c == '\\')
      out += "\\e";
    else if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n'))
      out += std::string("\\&") + c;
    else
      out += c;
  }
  return out;
}

std::string man(const std::vector<CommandTable>& tables) {
  std::string out =
      ".TH SLUICE 1 \"\" \"sluice " SLUICE_VERSION
      "\" \"User Commands\"\n.SH NAME\nsluice \\- runs mixture\\-of\\-experts language models "
      "from GGUF files\n.SH SYNOPSIS\n.B sluice\n.I COMMAND\n.RI [ flags ]\n"
      ".SH DESCRIPTION\nA model may be larger than the memory: its experts are kept in the "
      "GPU's memory, in main memory and on the disk, and computed where they lie.\n"
      ".SH COMMANDS\n";
  for (const Command& command : commands())
    out += fmt::format(".TP\n.B {}\n{}\n", command.name, roff(command.description));
  for (const CommandTable& table : tables) {
    std::string upper = table.name;
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    out += fmt::format(".SH FLAGS OF {}\n{}\n", upper, roff(table.description));
    for (const Flag& flag : table.flags) {
      std::string names;
      for (const std::string& name : names_of(flag))
        names += (names.empty() ? "" : ", ") + roff(name);
      out += fmt::format(".TP\n\\fB{}\\fR{}\n{}", names,
                         is_switch(flag) ? "" : fmt::format(" \\fI{}\\fR", roff(flag.value)),
                         roff(flag.help));
      if (!flag.variable.empty()) out += roff(fmt::format(" (LLAMA_ARG_{})", flag.variable));
      out += "\n";
    }
  }
  return out +
         ".SH ENVIRONMENT\nA flag with a name in parentheses can be given as SLUICE_ARG_NAME or "
         "LLAMA_ARG_NAME too; the command line wins. Downloads read HF_ENDPOINT, HF_TOKEN, "
         "HF_HOME, "
         "HF_HUB_CACHE, HF_HUB_OFFLINE and https_proxy.\n"
         ".SH EXIT STATUS\n0 done, 2 wrong usage, 1 anything else. An error is one line on "
         "standard "
         "error.\n";
}

}  // namespace

Status completion_command(const Arguments& arguments) {
  std::vector<std::string> shells;
  SLUICE_ASSIGN(
      const bool go,
      parse_flags("completion",
                  "Writes the completion of a shell (bash, zsh, fish), or the manual page "
                  "(man), to standard output.",
                  {}, arguments, &shells));
  if (!go) return {};
  const std::string shell = shells.size() == 1 ? shells[0] : "";
  if (shell == "bash") return print_out(bash(read_all()));
  if (shell == "zsh") return print_out(zsh(read_all()));
  if (shell == "fish") return print_out(fish(read_all()));
  if (shell == "man") return print_out(man(read_all()));
  return fail(ErrorKind::kUsage, "which: give one of bash, zsh, fish and man");
}

}  // namespace sluice::apps
