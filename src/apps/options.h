// SPDX-License-Identifier: Apache-2.0
// Command line flags. One table gives every spelling, environment variable and help text;
// llama.cpp's names are used throughout.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"

namespace sluice::apps {

struct Flag {
  std::string name;                  // long form, "--ctx-size"
  std::vector<std::string> aliases;  // "-c"
  std::string variable;  // "CTX_SIZE": SLUICE_ARG_CTX_SIZE, then LLAMA_ARG_CTX_SIZE; may be empty
  std::string value;     // what help calls the value; empty for a switch
  std::string help;
  // Switches get "true" or "false" (from --no-NAME). Errors become usage errors naming the flag.
  std::function<Status(const std::string&)> set;
};

// Parses a command's arguments. The command line counts before the environment, a later flag
// before an earlier one; positional arguments are allowed only when `positional` is given.
// llama.cpp flags without a meaning here are accepted with one warning. Returns false when help was
// asked for (and printed).
Result<bool> parse_flags(const std::string& command, const std::string& description,
                         const std::vector<Flag>& flags, const std::vector<std::string>& arguments,
                         std::vector<std::string>* positional = nullptr);

// While it is set, parse_flags() hands it the command's table and returns false.
using TableReader = std::function<void(const std::string& command, const std::string& description,
                                       const std::vector<Flag>& flags)>;
extern const TableReader* table_reader;

// Values with clear errors: the whole text must be a number in [least, most].
Result<int64_t> parse_integer(const std::string& text, int64_t least, int64_t most);
Result<double> parse_number(const std::string& text, double least, double most);
Result<bool> parse_bool(const std::string& text);
// Bytes: "12GiB" and "12G" (1024-based, as K, M, G, T), "12GB" (1000-based), "1.5G", or a plain
// number.
Result<uint64_t> parse_size(const std::string& text);
// llama.cpp's names.
Result<engine::LoadMode> parse_load_mode(const std::string& text);
Result<std::string> read_text_file(const std::string& path);

// A model that is somewhere else, downloaded before it is used; see find_model().
struct ModelSource {
  std::string repository;  // OWNER/REPO[:QUANTISATION]
  std::string file;        // in the repository
  std::string address;
  std::string token;
  bool offline = false;
  bool given() const { return !repository.empty() || !address.empty(); }
};

// What several commands share.
struct CommonOptions {
  engine::EngineOptions engine;
  ModelSource source;  // the model's, or engine.model_path: what was given last
  int verbosity = 2;
  std::vector<std::function<void(engine::SamplingParams&)>> sampling;  // changes to the defaults

  engine::SamplingParams apply_sampling(engine::SamplingParams defaults) const;
};

// Where the model comes from, and all flags of models, these among them.
std::vector<Flag> source_flags(CommonOptions& options);
std::vector<Flag> model_flags(CommonOptions& options);
std::vector<Flag> sampling_flags(CommonOptions& options);

}  // namespace sluice::apps
