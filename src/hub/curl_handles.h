// SPDX-License-Identifier: Apache-2.0
// libcurl's handles, which close themselves.
#pragma once

#include <curl/curl.h>

#include <memory>

namespace sluice::hub {

struct CurlCloser {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct CurlMultiCloser {
  void operator()(CURLM* handle) const { curl_multi_cleanup(handle); }
};
struct CurlUrlCloser {
  void operator()(CURLU* handle) const { curl_url_cleanup(handle); }
};
struct CurlListCloser {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

using CurlHandle = std::unique_ptr<CURL, CurlCloser>;
using CurlMultiHandle = std::unique_ptr<CURLM, CurlMultiCloser>;
using CurlUrlHandle = std::unique_ptr<CURLU, CurlUrlCloser>;
using CurlList = std::unique_ptr<curl_slist, CurlListCloser>;

}  // namespace sluice::hub
