// SPDX-License-Identifier: Apache-2.0
#include "server/answer_form.h"

#include <algorithm>

namespace sluice::server {
namespace {

using engine::AnswerForm;
using Text = AnswerForm::Text;

void set(Fields& fields, AnswerForm& form, Text text, const std::string& path) {
  if (form.text != Text::kFree)
    return fields.refuse({400, fmt::format("cannot stand beside {}: give one", form.path), path});
  form.text = text;
  form.path = path;
}

void set_schema(Fields& fields, AnswerForm& form, Fields& within, const char* name) {
  const Json* schema = within.object(name);
  if (!schema && !within.failed()) within.refuse(name, "is missing");
  if (auto status = within.status(); !status) return fields.refuse(std::move(status.error()));
  set(fields, form, Text::kSchema, within.path(name));
  form.schema = *schema;
}

// {"type": "text" | "json_object" | "json_schema", ...}
void read_format(Fields& fields, AnswerForm& form, const Json& source, const std::string& path) {
  Fields format(source, path);
  const std::string type = format.text("type").value_or("");
  if (auto status = format.status(); !status) return fields.refuse(std::move(status.error()));
  if (type == "text") return;
  if (type == "json_object") {
    // Not OpenAI's, but others take a schema here.
    if (format.has("schema")) return set_schema(fields, form, format, "schema");
    return set(fields, form, Text::kAnyObject, path);
  }
  if (type != "json_schema")
    return fields.refuse({400, "must be text, json_object or json_schema", format.path("type")});
  // OpenAI's chat completions have one more level than the others.
  if (!format.has("json_schema")) return set_schema(fields, form, format, "schema");
  const Json* inner = format.object("json_schema");
  if (!inner) return fields.refuse(std::move(format.status().error()));
  Fields wrapped(*inner, format.path("json_schema"));
  set_schema(fields, form, wrapped, "schema");
}

void read_text_form(Fields& fields, Dialect dialect, AnswerForm& form) {
  if (const Json* format = fields.get("response_format"))
    read_format(fields, form, *format, "response_format");
  if (dialect == Dialect::kResponses)
    if (const Json* text = fields.object("text"); text && text->contains("format"))
      if (const Json& format = (*text)["format"]; !format.is_null())
        read_format(fields, form, format, "text.format");
  if (dialect == Dialect::kMessages) {
    if (const Json* format = fields.get("output_format"))
      read_format(fields, form, *format, "output_format");
    if (const Json* config = fields.object("output_config"); config && config->contains("format"))
      if (const Json& format = (*config)["format"]; !format.is_null())
        read_format(fields, form, format, "output_config.format");
  }
  if (fields.has("json_schema")) set_schema(fields, form, fields, "json_schema");
  if (auto grammar = fields.text("grammar"); grammar && !grammar->empty()) {
    set(fields, form, Text::kGrammar, "grammar");
    form.grammar = std::move(*grammar);
  }
}

// The tool that {"type": "function", "name": ...} or {..., "function": {"name":
// ...}} means.
std::optional<engine::ToolForm> named_tool(Fields& fields, const Json& source,
                                           const std::string& path, const AnswerForm& form) {
  Fields entry(source, path);
  const Json* function = entry.object("function");
  Fields named(function ? *function : source, function ? path + ".function" : path);
  const std::string name = named.text("name").value_or("");
  const auto found = std::ranges::find(form.tools, name, &engine::ToolForm::name);
  if (found == form.tools.end()) named.refuse("name", "is none of the tools");
  for (const auto& status : {entry.status(), named.status()})
    if (!status) fields.refuse(status.error());
  if (fields.failed()) return std::nullopt;
  return *found;
}

// {"mode": ..., "tools": [...]}; returns the mode.
std::string read_allowed(Fields& fields, const Json& source, const std::string& path,
                         AnswerForm& form) {
  Fields allowed(source, path);
  const Json* list = allowed.array("tools", form.tools.size());
  if (!list || list->empty()) allowed.refuse("tools", "needs at least one tool");
  std::string mode = allowed.text("mode").value_or("auto");
  if (auto status = allowed.status(); !status) {
    fields.refuse(std::move(status.error()));
    return mode;
  }
  std::vector<engine::ToolForm> tools;
  for (size_t n = 0; n < list->size(); ++n) {
    auto tool = named_tool(fields, (*list)[n], fmt::format("{}.tools[{}]", path, n), form);
    if (!tool) return mode;
    tools.push_back(std::move(*tool));
  }
  form.tools = std::move(tools);
  return mode;
}

void read_choice(Fields& fields, Dialect dialect, AnswerForm& form) {
  if (const auto parallel = fields.boolean("parallel_tool_calls")) form.several_calls = *parallel;
  const Json* choice = fields.get("tool_choice");
  if (!choice) return;
  const std::string path = "tool_choice";
  std::string mode;
  if (choice->is_string()) {
    mode = choice->get<std::string>();
  } else {
    Fields object(*choice, path);
    mode = object.text("type").value_or("");
    if (object.boolean("disable_parallel_tool_use").value_or(false)) form.several_calls = false;
    if (mode == "allowed_tools") {
      const Json* inner = object.object("allowed_tools");
      mode = inner ? read_allowed(fields, *inner, path + ".allowed_tools", form)
                   : read_allowed(fields, *choice, path, form);
    } else if (mode == "function" || mode == "tool") {
      if (auto tool = named_tool(fields, *choice, path, form)) form.tools = {std::move(*tool)};
      form.several_calls = false;
      mode = "required";
    }
    if (auto status = object.status(); !status) return fields.refuse(std::move(status.error()));
  }
  if (mode == "any" || mode == "required") {
    if (form.tools.empty()) return fields.refuse(path, "asks for a call, but there are no tools");
    form.must_call = true;
  } else if (mode != "auto" && mode != "none") {
    fields.refuse(path, dialect == Dialect::kMessages
                            ? "must be auto, any, none, or a tool by its name"
                            : "must be auto, required, none, or a function by its name");
  }
}

}  // namespace

engine::AnswerForm read_answer_form(Fields& fields, Dialect dialect,
                                    const Conversation& conversation) {
  AnswerForm form;
  read_text_form(fields, dialect, form);
  form.tools = conversation.tools;
  if (dialect != Dialect::kCompletions && dialect != Dialect::kNative)
    read_choice(fields, dialect, form);
  if (form.text == Text::kGrammar && !form.tools.empty())
    fields.refuse("grammar", "cannot stand beside tools: leave one out");
  return form;
}

}  // namespace sluice::server
