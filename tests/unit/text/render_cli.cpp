// SPDX-License-Identifier: Apache-2.0
// Renders every template of a folder with every conversation in it, for comparison with other
// implementations: one JSON line for each case, with its text or its error.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "text/chat_template.h"

namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int argc, char** argv) {
  using nlohmann::ordered_json;
  if (argc != 2) {
    std::fprintf(stderr, "usage: render_cli TEMPLATES_FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  const auto cases = ordered_json::parse(read_file(folder / "conversations.json"));
  // 2025-03-04 05:06:07 UTC, as in the oracles
  const auto clock = [] {
    return std::chrono::system_clock::time_point(std::chrono::seconds(1741064767));
  };
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".jinja") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    const auto parsed = sluice::text::ChatTemplate::parse(read_file(file), {}, clock);
    for (const auto& [name, conversation] : cases["conversations"].items()) {
      for (size_t variant = 0; variant < cases["variants"].size(); ++variant) {
        ordered_json context = {{"tools", nullptr}, {"documents", nullptr}};
        context.update(cases["common"]);
        context.update(conversation);
        context.update(cases["variants"][variant]);
        ordered_json line = {
            {"template", file.stem().string()}, {"conversation", name}, {"variant", variant}};
        const auto text =
            parsed ? parsed->render_text(context) : tl::unexpected<sluice::Error>(parsed.error());
        if (text) {
          line["text"] = *text;
        } else {
          line["error"] = text.error().message;
        }
        std::printf("%s\n", line.dump().c_str());
      }
    }
  }
  return 0;
}
