// SPDX-License-Identifier: Apache-2.0
// The web page (web/dist/index.html), embedded.
#pragma once

#include <string>

#include "server/http.h"

namespace sluice::server {

// The answer to GET / and /index.html: packed where the client takes that, without a body where it
// has this very page already.
HttpResponse page_response(const HttpRequest& request);

// Whether a client that sends this Accept-Encoding takes gzip.
bool takes_gzip(std::string_view accepted);

}  // namespace sluice::server
