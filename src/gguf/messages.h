// SPDX-License-Identifier: Apache-2.0
// Wording shared by the module's errors.
#pragma once

#include <string>
#include <string_view>

namespace sluice::gguf {

// Text from a file made fit for one line of an error: everything but printable ASCII is escaped,
// long texts are cut. In single quotes.
std::string quote(std::string_view text);

}  // namespace sluice::gguf
