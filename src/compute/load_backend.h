// SPDX-License-Identifier: Apache-2.0
// Backends that are shared objects beside the program: libsluice_<name>.so.
#pragma once

#include <string>
#include <string_view>

#include "compute/backend.h"

namespace sluice::compute {

// Loads and opens backend `name` ("cuda") from `folder`, or, when that is empty, from the program's
// folder and then from ../lib/sluice beside it. The library stays loaded as long as the process.
// kNotFound: no such file; kDevice: it does not load, or finds no driver or no device, with what to
// do about it.
Result<Backend> load_backend(std::string_view name, const Backend::Options& options,
                             const std::string& folder = {});

}  // namespace sluice::compute
