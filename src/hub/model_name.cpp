// SPDX-License-Identifier: Apache-2.0
#include "hub/model_name.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>

#include "gguf/split.h"
#include "hub/http.h"
#include "hub/sha256.h"

namespace sluice::hub {
namespace {

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 96 || text[0] == '.' || text[0] == '-') return false;
  // "--" separates owner and name in the cache's folder.
  if (text.find("..") != std::string_view::npos || text.find("--") != std::string_view::npos)
    return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

std::string_view file_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

// A model: one file, or the parts of a split one, by number.
struct Group {
  std::string stem;  // path without part number and ending
  uint64_t count = 1;
  std::map<uint64_t, RepoFile> parts;

  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const auto& [number, part] : parts) sum += part.size;
    return sum;
  }
};

// What no one means who names a model: projectors for images, importance matrices.
bool is_model(std::string_view path) {
  const std::string name = upper(file_name(path));
  return is_gguf_name(path) && name.find("MMPROJ") == std::string::npos &&
         name.find("IMATRIX") == std::string::npos;
}

std::vector<Group> group(const std::vector<RepoFile>& all) {
  std::map<std::pair<std::string, uint64_t>, Group> groups;
  for (const RepoFile& file : all) {
    if (!is_model(file.path)) continue;
    const auto split = gguf::parse_split_name(file.path);
    const std::string stem =
        split ? split->prefix : file.path.substr(0, file.path.size() - sizeof(".gguf") + 1);
    const uint64_t count = split ? split->count : 1;
    Group& one = groups[{stem, count}];
    one.stem = stem;
    one.count = count;
    one.parts.emplace(split ? split->number : 1, file);
  }
  std::vector<Group> out;
  for (auto& [key, one] : groups) out.push_back(std::move(one));
  return out;
}

// "Q4_K" is in "Model-Q4_K.gguf" and in "Q4_K/Model", and not in "Model-Q4_K_M".
bool has_tag(std::string_view stem, std::string_view tag) {
  const std::string text = upper(stem), word = upper(tag);
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    const auto ends_word = [](char c) { return c == '-' || c == '.' || c == '/'; };
    const size_t end = at + word.size();
    if ((at == 0 || ends_word(text[at - 1])) && (end == text.size() || ends_word(text[end])))
      return true;
  }
  return false;
}

// Of those that a tag fits, the plainest: "Model-Q4_K_M" before "Model-UD-Q4_K_M".
std::vector<Group> with_tag(const std::vector<Group>& groups, std::string_view tag) {
  std::vector<Group> fit;
  for (const Group& one : groups)
    if (has_tag(one.stem, tag)) fit.push_back(one);
  std::stable_sort(fit.begin(), fit.end(),
                   [](const Group& a, const Group& b) { return a.stem.size() < b.stem.size(); });
  if (fit.size() > 1 && fit[0].stem.size() < fit[1].stem.size()) fit.resize(1);
  return fit;
}

std::string describe(const std::vector<Group>& groups) {
  std::string out;
  for (const Group& one : groups) {
    const std::string tag = quantisation_of(one.stem);
    out += fmt::format("{}{} ({:.1f} GiB)", out.empty() ? "" : ", ", tag.empty() ? one.stem : tag,
                       static_cast<double>(one.bytes()) / (uint64_t{1} << 30));
    if (out.size() > 1500) return out + ", ...";
  }
  return out;
}

Result<std::vector<RepoFile>> parts_of(const Group& one, const ModelName& name) {
  std::vector<RepoFile> files;
  for (uint64_t number = 1; number <= one.count; ++number) {
    const auto found = one.parts.find(number);
    if (found == one.parts.end())
      return fail(ErrorKind::kBadFile, "{}: {} lacks part {} of {}: take another quantisation",
                  name.id(), one.stem, number, one.count);
    files.push_back(found->second);
  }
  return files;
}

}  // namespace

Result<ModelName> ModelName::parse(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string id = text.substr(0, colon);
  const size_t slash = id.find('/');
  ModelName name;
  if (slash != std::string::npos) {
    name.owner = id.substr(0, slash);
    name.repo = id.substr(slash + 1);
  }
  if (colon != std::string::npos) name.tag = text.substr(colon + 1);
  if (!is_name(name.owner) || !is_name(name.repo) ||
      (colon != std::string::npos && !is_name(name.tag)))
    return fail(ErrorKind::kUsage,
                "\"{}\" is no model: write OWNER/REPO or OWNER/REPO:QUANTISATION, e.g. "
                "unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:Q4_K_M",
                one_line(text));
  return name;
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(),
                                          [](unsigned char c) { return std::isxdigit(c) != 0; });
}

bool is_gguf_name(std::string_view path) {
  return upper(path.substr(path.size() - std::min<size_t>(path.size(), 5))) == ".GGUF";
}

bool is_revision(std::string_view text) {
  return !text.empty() && text.size() <= 200 && text[0] != '-' && text[0] != '.' &&
         text.find("..") == std::string_view::npos && text.front() != '/' && text.back() != '/' &&
         text.find("//") == std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/';
         });
}

Status check_file(const RepoFile& file) {
  const auto bad = [&](const char* why) {
    std::string shown;
    for (const char c : file.path) shown += static_cast<unsigned char>(c) < 32 ? '?' : c;
    return fail(ErrorKind::kBadFile, "the hub lists a file \"{}\" {}: not downloaded", shown, why);
  };
  if (file.path.empty() || file.path.size() > 1000 || file.path[0] == '/' ||
      file.path.back() == '/')
    return bad("whose name is not a relative path");
  for (const char c : file.path)
    if (static_cast<unsigned char>(c) < 32 || c == 127 || c == '\\')
      return bad("with a control character or backslash in its name");
  for (size_t begin = 0; begin <= file.path.size();) {
    const size_t end = std::min(file.path.find('/', begin), file.path.size());
    const std::string_view part = std::string_view(file.path).substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return bad("that would leave its folder");
    begin = end + 1;
  }
  // What git calls a file has the form of a commit.
  if ((!is_commit(file.blob) && !is_sha256(file.blob)) ||
      (!file.sha256.empty() && !is_sha256(file.sha256)))
    return bad("with a hash that is none");
  return {};
}

std::string quantisation_of(std::string_view path) {
  std::string_view stem = file_name(path);
  if (is_gguf_name(stem)) stem.remove_suffix(5);
  const std::string text = upper(stem);
  std::string found;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of("-.", begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    const auto starts = [&](std::string_view prefix) {
      return word.starts_with(prefix) && word.size() > prefix.size() &&
             std::isdigit(static_cast<unsigned char>(word[prefix.size()]));
    };
    if (word == "F16" || word == "F32" || word == "BF16" || starts("Q") || starts("IQ") ||
        starts("TQ") || starts("MXFP"))
      found = word;
    begin = end + 1;
  }
  return found;
}

Result<std::vector<RepoFile>> choose_files(const std::vector<RepoFile>& all, const ModelName& name,
                                           const std::string& file) {
  const std::vector<Group> groups = group(all);
  if (!file.empty()) {
    for (const Group& one : groups)
      for (const auto& [number, part] : one.parts)
        if (part.path == file) return parts_of(one, name);
    for (const RepoFile& other : all)
      if (other.path == file) return std::vector<RepoFile>{other};
    return fail(ErrorKind::kNotFound, "{} has no file {}: it has {}", name.id(), file,
                groups.empty() ? "no GGUF files" : describe(groups));
  }
  if (groups.empty())
    return fail(ErrorKind::kNotFound,
                "{} has no GGUF files: look for a repository whose name ends in -GGUF", name.id());
  const std::string tag = name.tag.empty() ? "Q4_K_M" : name.tag;
  const std::vector<Group> fit = with_tag(groups, tag);
  if (fit.size() == 1) return parts_of(fit[0], name);
  if (fit.size() > 1) {
    std::string stems;
    for (const Group& one : fit)
      stems += (stems.empty() ? "" : ", ") + one.parts.begin()->second.path;
    return fail(ErrorKind::kUsage, "{} has several files for {}: choose one with --hf-file: {}",
                name.id(), tag, stems);
  }
  if (name.tag.empty() && groups.size() == 1) return parts_of(groups[0], name);
  return fail(name.tag.empty() ? ErrorKind::kUsage : ErrorKind::kNotFound,
              "{} has no {}: choose one with {}:QUANTISATION: {}", name.id(), tag, name.id(),
              describe(groups));
}

}  // namespace sluice::hub
