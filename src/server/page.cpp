// SPDX-License-Identifier: Apache-2.0
#include "server/page.h"

#include <boost/beast/zlib/inflate_stream.hpp>
#include <boost/beast/zlib/zlib.hpp>

#include "base/check.h"
#include "server/page_data.h"
#include "server/service.h"

// SLUICE_PAGE_FILE: the page, packed by gzip (CMakeLists.txt).
asm(".section .rodata\n"
    ".global sluice_page_begin\n"
    ".global sluice_page_end\n"
    "sluice_page_begin:\n"
    ".incbin \"" SLUICE_PAGE_FILE
    "\"\n"
    "sluice_page_end:\n"
    ".byte 0\n"
    ".previous\n");

extern "C" const char sluice_page_begin[], sluice_page_end[];

namespace sluice::server {
namespace {

std::string packed() {
  return {sluice_page_begin, sluice_page_end};
}

// What is around the compressed data: a header without optional parts, as CMake writes it, and
// checksum and size at the end.
constexpr size_t kGzipHeader = 10, kGzipEnd = 8;

std::string unpacked() {
  const std::string data = packed();
  SLUICE_CHECK(data.size() > kGzipHeader + kGzipEnd && data[3] == 0, "the page is packed by gzip");
  std::string page(kPageBytes, '\0');
  namespace zlib = boost::beast::zlib;
  zlib::inflate_stream stream;
  zlib::z_params params;
  params.next_in = data.data() + kGzipHeader;
  params.avail_in = data.size() - kGzipHeader - kGzipEnd;
  params.next_out = page.data();
  params.avail_out = page.size();
  boost::system::error_code error;
  stream.write(params, zlib::Flush::finish, error);
  SLUICE_CHECK(params.avail_out == 0, "the page is as large as it was when it was packed");
  return page;
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

// Calls `each` with the parts between commas until it returns true; whether it did.
template <typename F>
bool any_part(std::string_view list, const F& each) {
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    if (each(trimmed(list.substr(begin, end - begin)))) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace

bool takes_gzip(std::string_view accepted) {
  return any_part(accepted, [](std::string_view part) {
    const size_t semicolon = std::min(part.find(';'), part.size());
    if (trimmed(part.substr(0, semicolon)) != "gzip") return false;
    // "q=0", "q=0.0": not this one.
    const std::string_view weight = trimmed(part.substr(std::min(semicolon + 1, part.size())));
    return !weight.starts_with("q=0") || weight.find_first_of("123456789") != weight.npos;
  });
}

HttpResponse page_response(const HttpRequest& request) {
  HttpResponse response;
  response.content_type = "text/html; charset=utf-8";
  response.headers = {{"Content-Security-Policy", kPagePolicy},
                      {"X-Content-Type-Options", "nosniff"},
                      {"X-Frame-Options", "DENY"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      {"Cache-Control", "no-cache"},
                      {"Vary", "Accept-Encoding"}};
  const bool gzip = takes_gzip(request.header("accept-encoding"));
  // One tag for each form: a cache must not mistake one for the other.
  const std::string tag = std::string("\"") + kPageTag + (gzip ? "-gzip\"" : "\"");
  response.headers.emplace_back("ETag", tag);
  const bool known = any_part(request.header("if-none-match"), [&](std::string_view part) {
    if (part.starts_with("W/")) part.remove_prefix(2);
    return part == tag || part == "*";
  });
  if (known) {
    response.status = 304;
    return response;
  }
  if (gzip) response.headers.emplace_back("Content-Encoding", "gzip");
  response.body = gzip ? packed() : unpacked();
  return response;
}

void page(const Call& call) {
  if (!call.service.options.page)
    return call.exchange->respond(
        to_response(ApiError{404, "this server shows no page", "", "not_found_error", {}}));
  call.exchange->respond(page_response(call.request));
}

}  // namespace sluice::server
