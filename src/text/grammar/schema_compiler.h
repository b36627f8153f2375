// SPDX-License-Identifier: Apache-2.0
// The work behind json_schema.h.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "text/grammar/json_schema.h"
#include "text/grammar/json_text.h"

namespace sluice::text::grammar {

class SchemaCompiler {
 public:
  using Json = nlohmann::ordered_json;

  // All must outlive it; `json` makes rules of `grammar`.
  SchemaCompiler(const Json& root, Grammar& grammar, JsonText& json, std::vector<SchemaNote>& notes)
      : root_(root), g_(grammar), json_(json), notes_(notes) {}

  // A rule of its own. kTooLarge for a schema that is nested too deeply.
  Result<ExprId> compile();

 private:
  struct Member {
    ExprId expr;
    bool required;
  };

  void note(const std::string& path, std::string_view keyword, std::string_view what);
  // Where nothing better can be said.
  ExprId anything(const std::string& path, std::string_view what);

  Result<ExprId> value(const Json& schema, const std::string& path, int depth);
  Result<ExprId> reference(const Json& schema, const std::string& path, int depth);
  Result<ExprId> combined(const Json& schema, const std::string& path, int depth);
  Status flatten(const Json& schema, const std::string& path, Json& into,
                 std::vector<const Json*>& active);
  const Json* resolve(const std::string& pointer) const;
  Result<ExprId> alternatives(const Json& schema, const std::string& keyword,
                              const std::string& path, int depth);
  ExprId constants(const Json& schema, const std::string& path);
  Result<ExprId> of_type(const std::string& type, const Json& schema, const std::string& path,
                         int depth);

  Result<ExprId> object(const Json& schema, const std::string& path, int depth);
  Result<std::vector<ExprId>> additional(const Json& schema, const std::string& path,
                                         const std::vector<std::string>& names, int depth);
  ExprId members(const std::vector<Member>& listed, const std::vector<ExprId>& others);
  Result<ExprId> array(const Json& schema, const std::string& path, int depth);
  ExprId string(const Json& schema, const std::string& path);
  std::optional<ExprId> format(const std::string& name);
  ExprId integer(const Json& schema, const std::string& path);
  ExprId number(const Json& schema, const std::string& path);

  // Used more than once without growing.
  ExprId shared(ExprId expr, const char* name);
  ExprId named(ExprId expr, const std::string& path);

  const Json& root_;
  Grammar& g_;
  JsonText& json_;
  std::vector<SchemaNote>& notes_;
  std::set<std::string> noted_;
  std::map<const Json*, RuleId> referred_;
  std::map<std::string, RuleId> combined_;  // by the schema's text
  std::deque<Json> made_;                   // schemas that are in no document
  size_t merges_ = 0;
};

// The type of a keyword's value is checked: kUsage with the path.
Status check_keywords(const nlohmann::ordered_json& schema, const std::string& path);
tl::unexpected<Error> too_deep();
// The path of a member: `path`, '/', and `name` escaped as in JSON pointers.
std::string child_path(const std::string& path, std::string_view name);

}  // namespace sluice::text::grammar
