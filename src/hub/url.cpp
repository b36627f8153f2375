// SPDX-License-Identifier: Apache-2.0
#include "hub/url.h"

#include <cctype>
#include <optional>

#include "hub/curl_handles.h"
#include "hub/http.h"

namespace sluice::hub {
namespace {

std::optional<std::string> part(CURLU* handle, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(handle, which, &text, 0) != CURLUE_OK) return std::nullopt;
  std::string copy = text;
  curl_free(text);
  return copy;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

bool is_address(std::string_view text) {
  return text.find("://") != std::string_view::npos;
}

Result<Url> Url::from_handle(void* opaque, const std::string& given) {
  CURLU* const handle = static_cast<CURLU*>(opaque);
  const auto scheme = part(handle, CURLUPART_SCHEME);
  if (!scheme || (*scheme != "http" && *scheme != "https"))
    return fail(ErrorKind::kUsage, "{}: only http and https addresses can be read", given);
  const auto host = part(handle, CURLUPART_HOST);
  if (!host || host->empty())
    return fail(ErrorKind::kUsage, "{}: names no host: write https://HOST/PATH", given);
  if (part(handle, CURLUPART_USER) || part(handle, CURLUPART_PASSWORD))
    return fail(ErrorKind::kUsage,
                "https://...@{}: addresses with a password are not taken: give a token in HF_TOKEN",
                *host);
  curl_url_set(handle, CURLUPART_FRAGMENT, nullptr, 0);
  Url url;
  url.host_ = *host;
  for (char& c : url.host_) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  url.origin_ = *scheme + "://" + url.host_;
  const auto port = part(handle, CURLUPART_PORT);
  if (port && *port != (*scheme == "http" ? "80" : "443")) url.origin_ += ":" + *port;
  url.path_ = part(handle, CURLUPART_PATH).value_or("/");
  const auto whole = part(handle, CURLUPART_URL);
  if (!whole) return fail(ErrorKind::kUsage, "{}: not an address", given);
  url.text_ = *whole;
  return url;
}

Result<Url> Url::parse(const std::string& text) {
  const CurlUrlHandle handle(curl_url());
  if (!handle) return fail(ErrorKind::kTooLarge, "no memory left");
  if (curl_url_set(handle.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) !=
      CURLUE_OK)
    return fail(ErrorKind::kUsage, "{}: not an address: write https://HOST/PATH", one_line(text));
  return from_handle(handle.get(), one_line(text));
}

Result<Url> Url::resolve(const std::string& reference) const {
  const CurlUrlHandle handle(curl_url());
  if (!handle) return fail(ErrorKind::kTooLarge, "no memory left");
  if (curl_url_set(handle.get(), CURLUPART_URL, text_.c_str(), 0) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_URL, reference.c_str(), CURLU_NON_SUPPORT_SCHEME) !=
          CURLUE_OK)
    return fail(ErrorKind::kUnsupported,
                "{}: redirects to something that is no address: not followed", display());
  Result<Url> url = from_handle(handle.get(), "it");
  if (!url)
    return fail(ErrorKind::kUnsupported,
                "{}: redirects to what is neither http nor https, or has a password: not followed",
                display());
  return url;
}

bool Url::loopback() const {
  return host_ == "localhost" || host_ == "[::1]" || host_.starts_with("127.");
}

std::string escape_path(std::string_view path) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || std::string_view("-._~/").find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string unescape_path(std::string_view path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      out += path[i];
      continue;
    }
    const int high = i + 2 < path.size() ? hex_digit(path[i + 1]) : -1;
    const int low = high < 0 ? -1 : hex_digit(path[i + 2]);
    if (low < 0 || (high == 0 && low == 0)) return "";
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

}  // namespace sluice::hub
