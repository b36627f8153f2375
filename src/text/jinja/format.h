// SPDX-License-Identifier: Apache-2.0
// Python's two ways of formatting: "{}".format(x) and "%s" % x.
#pragma once

#include "text/jinja/arguments.h"
#include "text/jinja/value.h"

namespace sluice::text::jinja {

// Fields by position or name, with a format specification; no attributes or items of the arguments.
Value format_braces(Budget& budget, const Text& format, const Arguments& arguments);
// `values`: a tuple of them, an object for "%(name)s", or a single value.
Value format_percent(Budget& budget, const Value& format, const Value& values);

}  // namespace sluice::text::jinja
