// SPDX-License-Identifier: Apache-2.0
// What a request says about the form of its answer: response_format and its kin, grammar,
// tool_choice.
#pragma once

#include "engine/answer_form.h"
#include "server/conversation.h"
#include "server/parameters.h"

namespace sluice::server {

// `conversation`: its tools have been read. Errors are left in `fields`.
engine::AnswerForm read_answer_form(Fields& fields, Dialect dialect,
                                    const Conversation& conversation);

}  // namespace sluice::server
