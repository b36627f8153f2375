// SPDX-License-Identifier: Apache-2.0
// POST /slots/{id}?action=save|restore|erase: the prompt cache on disk.
#include <chrono>

#include "server/service.h"
#include "server/slot_file.h"

namespace sluice::server {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// What comes of files and slots is the client's to mend, but for what the system refuses.
ApiError slot_error(const Error& error, std::string param) {
  ApiError api = to_api(error, std::move(param));
  switch (error.kind) {
    case ErrorKind::kBadFile:
      api.status = 400;
      api.type = "invalid_request_error";
      break;
    case ErrorKind::kNotFound:
      api.status = 404;
      api.type = "not_found_error";
      break;
    case ErrorKind::kBusy:
      api.status = 409;
      api.type = "conflict_error";
      break;
    default:
      break;
  }
  return api;
}

std::string_view query_value(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view field = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(field.size() + 1, query.size()));
    if (field.substr(0, field.find('=')) == name && field.size() > name.size())
      return field.substr(name.size() + 1);
  }
  return {};
}

ApiResult<std::string> file_name(const Call& call) {
  SLUICE_API_ASSIGN(const Json body, parse_json(call.request.body));
  Fields fields(body);
  const auto name = fields.text("filename");
  if (!name) fields.refuse("filename", "is missing");
  if (name)
    if (const Status plain = check_slot_name(*name); !plain)
      fields.refuse("filename", plain.error().message);
  SLUICE_API_TRY(fields.status());
  return *name;
}

ApiResult<Json> save(const Call& call, int64_t slot) {
  const auto begin = Clock::now();
  const Service& s = call.service;
  SLUICE_API_ASSIGN(const std::string name, file_name(call));
  const auto saved = s.scheduler.save_slot(slot, call.owner);
  if (!saved) return refuse(slot_error(saved.error(), "id_slot"));
  const auto written = write_slot_file(s.options.slot_folder, name, call.owner, *saved);
  if (!written) return refuse(slot_error(written.error(), "filename"));
  return Json{{"id_slot", slot},
              {"filename", name},
              {"n_saved", saved->tokens.size()},
              {"n_written", *written},
              {"timings", {{"save_ms", milliseconds_since(begin)}}}};
}

ApiResult<Json> restore(const Call& call, int64_t slot) {
  const auto begin = Clock::now();
  const Service& s = call.service;
  SLUICE_API_ASSIGN(const std::string name, file_name(call));
  engine::CheckpointOptions checkpoints = s.options.scheduler.checkpoints;
  checkpoints.bytes /= static_cast<uint64_t>(s.scheduler.slots());
  const SlotLimits limits{s.limits.context,
                          engine::session_memory(s.engine.model().config(), s.limits.context,
                                                 s.engine.options().cache, checkpoints)};
  auto file = read_slot_file(s.options.slot_folder, name, call.owner, limits);
  if (!file) return refuse(slot_error(file.error(), "filename"));
  const size_t tokens = file->saved.tokens.size();
  if (const Status loaded = s.scheduler.load_slot(slot, call.owner, std::move(file->saved));
      !loaded) {
    Error error = loaded.error();
    const bool of_file = error.kind == ErrorKind::kUsage || error.kind == ErrorKind::kBadFile;
    if (of_file)
      error.message = fmt::format(
          "{}: {} (a slot goes back into a server with the same model file, cache types and "
          "--spec-type)",
          name, error.message);
    return refuse(slot_error(error, of_file ? "filename" : "id_slot"));
  }
  return Json{{"id_slot", slot},
              {"filename", name},
              {"n_restored", tokens},
              {"n_read", file->bytes},
              {"timings", {{"restore_ms", milliseconds_since(begin)}}}};
}

ApiResult<Json> erase(const Call& call, int64_t slot) {
  const auto erased = call.service.scheduler.erase_slot(slot, call.owner);
  if (!erased) return refuse(slot_error(erased.error(), "id_slot"));
  return Json{{"id_slot", slot}, {"n_erased", *erased}};
}

ApiResult<Json> act(const Call& call) {
  const Service& s = call.service;
  const std::string id = call.request.path.substr(call.request.path.rfind('/') + 1);
  const bool number =
      !id.empty() && id.size() <= 9 && id.find_first_not_of("0123456789") == std::string::npos;
  const int64_t slot = number ? std::stoll(id) : -1;
  if (slot < 0 || slot >= s.scheduler.slots())
    return refuse("id_slot", fmt::format("must be the number of a slot, from 0 to {}",
                                         s.scheduler.slots() - 1));
  if (s.options.slot_folder.empty())
    return refuse(ApiError{501,
                           "this server does not save slots: start it with --slot-save-path DIR",
                           "",
                           "not_supported_error",
                           {}});
  const std::string_view action = query_value(call.request.query, "action");
  if (action != "save" && action != "restore" && action != "erase")
    return refuse("action", "must be ?action=save, restore or erase");
  // The threads that read requests are few, and this one waits for a forward pass and the disk.
  const std::unique_lock only(s.slot_action, std::try_to_lock);
  if (!only)
    return refuse(ApiError{409,
                           "another slot is being saved, restored or erased: try again",
                           "",
                           "conflict_error",
                           {}});
  return action == "save"      ? save(call, slot)
         : action == "restore" ? restore(call, slot)
                               : erase(call, slot);
}

}  // namespace

void slot_action(const Call& call) {
  const ApiResult<Json> result = act(call);
  if (!result) call.service.metrics.refused(result.error().status);
  call.exchange->respond(result ? to_response(*result) : to_response(result.error()));
}

}  // namespace sluice::server
