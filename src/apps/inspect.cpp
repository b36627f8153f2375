// SPDX-License-Identifier: Apache-2.0
// sluice inspect: what a GGUF file holds, without loading it.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/options.h"
#include "base/log.h"
#include "base/size_text.h"
#include "model/config.h"

namespace sluice::apps {
namespace {

using gguf::Gguf;
using gguf::Tensor;

std::string one_line(std::string_view text, size_t most) {
  std::string out = nlohmann::json(std::string(text))
                        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (out.size() <= most) return out;
  size_t cut = most;  // not within a character
  while (cut > 0 && (static_cast<unsigned char>(out[cut]) & 0xc0) == 0x80) --cut;
  return fmt::format("{}... ({} bytes)", out.substr(0, cut), text.size());
}

std::string value_text(const gguf::Value& value) {
  struct Printer {
    std::string operator()(uint64_t v) const { return fmt::format("{}", v); }
    std::string operator()(int64_t v) const { return fmt::format("{}", v); }
    std::string operator()(double v) const { return fmt::format("{:g}", v); }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(const std::string& v) const { return one_line(v, 80); }
    std::string operator()(const gguf::Array& v) const {
      return fmt::format("[{} x {}]", v.size(), gguf::value_type_name(v.element_type));
    }
  };
  return std::visit(Printer{}, value.data);
}

std::string shape_text(const Tensor& tensor) {
  std::string text;
  for (int i = 0; i < tensor.dimensions; ++i)
    text += fmt::format("{}{}", i ? " x " : "", tensor.shape[static_cast<size_t>(i)]);
  return text;
}

bool is_expert(const Tensor& tensor) {
  return tensor.name.find("_exps.") != std::string::npos;
}

// Of block `layer` or one behind it: "blk.N.".
bool is_behind(const Tensor& tensor, int64_t layer) {
  return tensor.name.starts_with("blk.") && std::atoll(tensor.name.c_str() + 4) >= layer;
}

struct Totals {
  std::map<std::string, std::pair<int64_t, uint64_t>> types;  // name -> tensors, bytes
  uint64_t bytes = 0, expert_bytes = 0, embedding_bytes = 0;
  uint64_t draft_bytes = 0, draft_expert_bytes = 0;  // of these, in blocks behind the layers
  int64_t parameters = 0;
  bool has_output = false;
};

Totals add_up(const Gguf& file, int64_t layers) {
  Totals totals;
  for (const Tensor& tensor : file.tensors()) {
    auto& [count, bytes] = totals.types[std::string(quant::traits(tensor.type).name)];
    ++count;
    bytes += tensor.bytes;
    totals.bytes += tensor.bytes;
    totals.parameters += tensor.elements();
    if (is_expert(tensor)) totals.expert_bytes += tensor.bytes;
    if (is_behind(tensor, layers)) {
      totals.draft_bytes += tensor.bytes;
      if (is_expert(tensor)) totals.draft_expert_bytes += tensor.bytes;
    }
    if (tensor.name == "token_embd.weight") totals.embedding_bytes = tensor.bytes;
    if (tensor.name == "output.weight") totals.has_output = true;
  }
  return totals;
}

// What one decoded token reads: everything but the unused experts and what only guesses; of the
// embedding one row.
uint64_t bytes_per_token(const Totals& totals, const model::Config& config, uint64_t& expert_part) {
  const uint64_t experts = totals.expert_bytes - totals.draft_expert_bytes;
  expert_part = config.experts > 0 ? experts / static_cast<uint64_t>(config.experts) *
                                         static_cast<uint64_t>(config.experts_used)
                                   : 0;
  uint64_t dense = totals.bytes - totals.draft_bytes - experts;
  if (totals.has_output)
    dense -=
        totals.embedding_bytes - totals.embedding_bytes / static_cast<uint64_t>(config.vocabulary);
  return dense + expert_part;
}

}  // namespace

Status inspect_command(const Arguments& arguments) {
  CommonOptions common;
  bool tensors = false;
  std::vector<std::string> positional;
  std::vector<Flag> flags = source_flags(common);
  flags.push_back(
      {"--tensors", {}, "", "", "list every tensor", [&](const std::string& text) -> Status {
         tensors = text == "true";
         return {};
       }});
  SLUICE_ASSIGN(
      const bool go,
      parse_flags("inspect",
                  "Shows metadata, tensors, quantisation mix, experts and bytes per token.", flags,
                  arguments, &positional));
  if (!go) return {};
  if (positional.size() > 1)
    return fail(ErrorKind::kUsage, "{}: unexpected argument; one model at a time", positional[1]);
  if (positional.size() == 1) take_model(positional[0], common);
  SLUICE_ASSIGN(const Gguf file, open_model(common));

  const auto config = model::Config::read(file, {});
  const Totals totals = add_up(file, config ? config->layers : INT64_MAX);
  std::string out = fmt::format(
      "file             {}{}\n", file.files()[0]->name(),
      file.files().size() > 1 ? fmt::format(" and {} more", file.files().size() - 1) : "");
  out += fmt::format("format           GGUF v{}, alignment {}, {}\n", file.version(),
                     file.alignment(), size_text(file.file_bytes()));
  if (config) {
    out += fmt::format("architecture     {}, {} layers, {} wide, {} heads of {}, {} kv heads\n",
                       config->architecture, config->layers, config->dim, config->heads,
                       config->head_dim, config->kv_heads);
    out += fmt::format("context          {} positions, vocabulary {}\n", config->context,
                       config->vocabulary);
    if (config->experts > 0) {
      const auto slices =
          static_cast<uint64_t>((config->layers + config->draft_layers) * config->experts);
      out += fmt::format(
          "experts          {} per layer, {} used, {} each, {} in all ({:.0f} % of the tensors)\n",
          config->experts, config->experts_used,
          size_text(totals.expert_bytes / std::max<uint64_t>(slices, 1)),
          size_text(totals.expert_bytes),
          100.0 * static_cast<double>(totals.expert_bytes) / static_cast<double>(totals.bytes));
    }
    uint64_t expert_part = 0;
    const uint64_t per_token = bytes_per_token(totals, *config, expert_part);
    out += fmt::format("read per token   {}, of it experts {}\n", size_text(per_token),
                       size_text(expert_part));
    out += fmt::format(
        "cache per token  {:.1f} KiB (f16)\n",
        static_cast<double>(config->attention_layers() * config->kv_heads * config->head_dim) * 4 /
            1024);
    if (config->attention_layers() < config->layers)
      out += fmt::format("recurrent state  {} per sequence, in {} layers\n",
                         size_text(static_cast<uint64_t>(config->recurrent_floats()) * 4),
                         config->layers - config->attention_layers());
    if (config->draft_layers > 0)
      out += fmt::format("guesses ahead    with a block of {} for multi-token prediction\n",
                         size_text(totals.draft_bytes));
  } else if (!file.tensors().empty()) {
    out += fmt::format("cannot be run    {}\n", config.error().message);
  }
  out += fmt::format(
      "parameters       {:.2f} {}\n",
      static_cast<double>(totals.parameters) / (totals.parameters >= 1000000000 ? 1e9 : 1e6),
      totals.parameters >= 1000000000 ? "B" : "M");
  out += fmt::format("\ntypes            {} tensors\n", file.tensors().size());
  for (const auto& [name, total] : totals.types)
    out +=
        fmt::format("  {:<10} {:>6} tensors {:>14}\n", name, total.first, size_text(total.second));
  out += fmt::format("\nmetadata         {} keys\n", file.metadata().size());
  for (const auto& [key, value] : file.metadata())
    out += fmt::format("  {:<44} {:<7} {}\n", key, gguf::value_type_name(value.type),
                       value_text(value));
  if (tensors) {
    out += "\ntensors\n";
    for (const Tensor& tensor : file.tensors())
      out += fmt::format("  {:<40} {:<8} {:<22} {:>12} bytes at {}\n", tensor.name,
                         quant::traits(tensor.type).name, shape_text(tensor), tensor.bytes,
                         tensor.offset);
  }
  return print_out(out);
}

}  // namespace sluice::apps
