// SPDX-License-Identifier: Apache-2.0
#include "hub/http.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "hub/curl_handles.h"

namespace sluice::hub {
namespace {

constexpr size_t kMostHeaderBytes = 256 << 10;
constexpr int kMostRedirects = 10;
constexpr int kConnectSeconds = 15;

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

// Certificates of a company's proxy come through the variables that other programs read.
const char* certificate_file() {
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return nullptr;
}

bool is_set(const std::atomic<bool>* flag) {
  return flag != nullptr && flag->load(std::memory_order_relaxed);
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

std::optional<ContentRange> parse_content_range(const std::string& text) {
  std::string_view rest = trimmed(text);
  if (!lower(std::string(rest.substr(0, 6))).starts_with("bytes ")) return std::nullopt;
  rest = trimmed(rest.substr(6));
  const auto number = [&](uint64_t& value) {
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (error != std::errc()) return false;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    return true;
  };
  const auto sign = [&](char c) {
    if (!rest.starts_with(c)) return false;
    rest.remove_prefix(1);
    return true;
  };
  ContentRange out{};
  if (!number(out.range.first) || !sign('-') || !number(out.range.last) || !sign('/'))
    return std::nullopt;
  if (out.range.last < out.range.first) return std::nullopt;
  if (rest == "*") return out;
  uint64_t total = 0;
  if (!number(total) || !rest.empty() || total <= out.range.last) return std::nullopt;
  out.total = total;
  return out;
}

std::string Response::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

int Response::retry_after() const {
  return std::clamp(std::atoi(header("retry-after").c_str()), 0, 60);
}

struct Connection::State {
  CurlHandle curl;
  // Of the transfer that runs.
  Response* response = nullptr;
  const Start* start = nullptr;
  const Sink* sink = nullptr;
  const std::atomic<bool>* cancel = nullptr;
  const std::atomic<bool>* stop = nullptr;
  bool started = false, unreachable = false;
  size_t header_bytes = 0;
  std::string where;
  Status refused;  // why a callback ended the transfer
  char message[CURL_ERROR_SIZE] = "";

  static size_t on_header(char* data, size_t, size_t bytes, void* self) {
    State& s = *static_cast<State*>(self);
    s.header_bytes += bytes;
    if (s.header_bytes > kMostHeaderBytes) {
      s.refused = fail(ErrorKind::kUnsupported,
                       "{}: its headers are longer than {} KiB: try another address", s.where,
                       kMostHeaderBytes >> 10);
      return 0;
    }
    const std::string_view line(data, bytes);
    if (line.starts_with("HTTP/")) {  // a proxy's answer, or an interim one, came before
      s.response->headers.clear();
      return bytes;
    }
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos)
      s.response->headers[lower(std::string(line.substr(0, colon)))] =
          std::string(trimmed(line.substr(colon + 1)));
    return bytes;
  }

  bool begin() {
    started = true;
    long status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
    response->status = static_cast<int>(status);
    if (!response->ok()) return true;
    const std::string encoding = lower(response->header("content-encoding"));
    if (!encoding.empty() && encoding != "identity") {
      refused =
          fail(ErrorKind::kUnsupported,
               "{}: sends the file compressed ({}), which nobody asked for: use another address or "
               "proxy",
               where, one_line(encoding));
      return false;
    }
    if (*start) refused = (*start)(*response);
    return refused.has_value();
  }

  static size_t on_body(char* data, size_t, size_t bytes, void* self) {
    State& s = *static_cast<State*>(self);
    if (!s.started && !s.begin()) return 0;
    if (!s.response->ok()) return bytes;  // an error's page
    s.refused = (*s.sink)({reinterpret_cast<const uint8_t*>(data), bytes});
    return s.refused ? bytes : 0;
  }

  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    const State& s = *static_cast<State*>(self);
    return is_set(s.cancel) || is_set(s.stop) ? 1 : 0;
  }
};

Connection::Connection(HttpOptions options)
    : options_(std::move(options)), state_(std::make_unique<State>()) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  state_->curl.reset(curl_easy_init());
  CURL* const curl = state_->curl.get();
  if (!curl) return;  // get() says so
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "sluice");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(kConnectSeconds));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stall_seconds));
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, state_->message);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &State::on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, state_.get());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &State::on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, state_.get());
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &State::on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, state_.get());
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  if (const char* file = certificate_file()) curl_easy_setopt(curl, CURLOPT_CAINFO, file);
}

Connection::~Connection() = default;
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;

bool Connection::has_token_for(const Url& url) const {
  return !options_.token.empty() && url.origin() == options_.token_origin &&
         (url.encrypted() || url.loopback());
}

bool Connection::unreachable() const {
  return state_->unreachable;
}

namespace {

Error transfer_error(CURLcode code, const char* message, const Url& url, int stall_seconds) {
  const auto say = [&](ErrorKind kind, const std::string& what) {
    return Error{kind, fmt::format("{}: {}", url.display(), what)};
  };
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return say(ErrorKind::kIo, fmt::format("no host {} can be found: check the network, and the "
                                             "address in HF_ENDPOINT if it is set",
                                             url.host()));
    case CURLE_COULDNT_RESOLVE_PROXY:
      return say(ErrorKind::kIo,
                 "the proxy cannot be found: check https_proxy, http_proxy and all_proxy");
    case CURLE_COULDNT_CONNECT:
      return say(ErrorKind::kIo,
                 "cannot connect: check the network, a proxy (https_proxy) or another HF_ENDPOINT");
    case CURLE_OPERATION_TIMEDOUT:
      return say(ErrorKind::kIo,
                 fmt::format("nothing came for {} s: try again later, the download goes on from "
                             "here, or wait longer with HF_HUB_DOWNLOAD_TIMEOUT",
                             stall_seconds));
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return say(ErrorKind::kUnsupported,
                 fmt::format("its certificate is not trusted ({}): install ca-certificates, or "
                             "name the file of your proxy's in SSL_CERT_FILE",
                             message));
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
      return say(ErrorKind::kIo,
                 "the connection ended early: try again, the download goes on from here");
    case CURLE_OUT_OF_MEMORY:
      return say(ErrorKind::kTooLarge, "no memory left");
    default:
      return say(ErrorKind::kIo, fmt::format("{}: try again, or another address",
                                             *message ? message : curl_easy_strerror(code)));
  }
}

struct HeaderList {
  CurlList list;
  void add(const std::string& line) {
    // The beginning stays what it was, but for the first line.
    if (curl_slist* longer = curl_slist_append(list.get(), line.c_str()); longer && !list)
      list.reset(longer);
  }
};

}  // namespace

Result<Response> Connection::get_once(const Url& url, std::optional<Range> range,
                                      const Start& start, const Sink& sink,
                                      const std::atomic<bool>* stop) {
  State& s = *state_;
  if (!s.curl) return fail(ErrorKind::kTooLarge, "no memory left for a connection");
  Response response;
  response.url = url.text();
  s.response = &response;
  s.start = &start;
  s.sink = &sink;
  s.cancel = options_.cancel;
  s.stop = stop;
  s.started = false;
  s.header_bytes = 0;
  s.where = url.display();
  s.refused = {};
  s.message[0] = '\0';

  HeaderList headers;
  headers.add("Accept: */*");
  headers.add("Accept-Encoding: identity");
  if (has_token_for(url)) headers.add("Authorization: Bearer " + options_.token);
  curl_easy_setopt(s.curl.get(), CURLOPT_HTTPHEADER, headers.list.get());
  curl_easy_setopt(s.curl.get(), CURLOPT_URL, url.text().c_str());
  const std::string bytes = range ? fmt::format("{}-{}", range->first, range->last) : "";
  curl_easy_setopt(s.curl.get(), CURLOPT_RANGE, range ? bytes.c_str() : nullptr);

  const CURLcode code = curl_easy_perform(s.curl.get());
  s.unreachable = code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
                  code == CURLE_COULDNT_CONNECT;
  curl_easy_setopt(s.curl.get(), CURLOPT_HTTPHEADER, nullptr);
  if (!s.refused) return fail(std::move(s.refused.error()));
  if (is_set(options_.cancel) || is_set(stop))
    return fail(ErrorKind::kCancelled, "{}: stopped on request", url.display());
  if (code != CURLE_OK) return fail(transfer_error(code, s.message, url, options_.stall_seconds));
  // Without a body nobody called begin().
  if (!s.started && !s.begin()) return fail(s.refused.error());
  return response;
}

Result<Response> Connection::get(const Url& url, std::optional<Range> range, const Start& start,
                                 const Sink& sink, const std::atomic<bool>* stop) {
  Url at = url;
  std::map<std::string, std::string> first;
  for (int redirects = 0; redirects <= kMostRedirects; ++redirects) {
    const Start with_first = [&](const Response& response) -> Status {
      if (!start) return {};
      Response both = response;
      both.first = redirects == 0 ? response.headers : first;
      return start(both);
    };
    SLUICE_ASSIGN(Response response, get_once(at, range, with_first, sink, stop));
    if (redirects == 0) first = response.headers;
    response.first = first;
    if (!is_redirect(response.status)) return response;
    const std::string location = response.header("location");
    if (location.empty())
      return fail(ErrorKind::kUnsupported,
                  "{}: redirects (status {}) to nowhere: try another address", at.display(),
                  response.status);
    SLUICE_ASSIGN(Url next, at.resolve(location));
    if (at.encrypted() && !next.encrypted())
      return fail(ErrorKind::kUnsupported,
                  "{}: redirects to an unencrypted address ({}): not followed, try another "
                  "HF_ENDPOINT",
                  at.display(), next.display());
    at = std::move(next);
  }
  return fail(ErrorKind::kUnsupported, "{}: redirects more than {} times: try another address",
              url.display(), kMostRedirects);
}

Result<std::string> Connection::get_text(const Url& url, size_t most, Response* out) {
  for (int attempt = 1;; ++attempt) {
    std::string text;
    const Sink sink = [&](std::span<const uint8_t> bytes) -> Status {
      if (text.size() + bytes.size() > most)
        return fail(ErrorKind::kTooLarge, "{}: answers with more than {} MiB: try another address",
                    url.display(), most >> 20);
      text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return {};
    };
    Result<Response> response = get(url, std::nullopt, nullptr, sink);
    const bool again = response ? response->transient()
                                : response.error().kind == ErrorKind::kIo && !unreachable();
    if (again && attempt < kTries) {
      const int seconds = response ? response->retry_after() : 0;
      if (rest(std::max(seconds * 1000, rest_before(attempt)), options_.cancel, nullptr)) continue;
    }
    if (!response) return fail(std::move(response.error()));
    SLUICE_TRY(check_answer(*this, url, *response));
    if (out) *out = std::move(*response);
    return text;
  }
}

Status check_answer(const Connection& connection, const Url& asked, const Response& response) {
  if (response.ok()) return {};
  const std::string where = asked.display();
  const std::string said = one_line(response.header("x-error-message"));
  const std::string words = said.empty() ? "" : fmt::format(" (\"{}\")", said);
  const bool had_token = connection.has_token_for(asked);
  switch (response.status) {
    case 401:
      if (!had_token && !connection.options().token.empty())
        return fail(ErrorKind::kIo,
                    "{}: needs a token{}, and the one that is set belongs to {} or would go "
                    "unencrypted: check HF_ENDPOINT",
                    where, words, connection.options().token_origin);
      if (!had_token)
        return fail(ErrorKind::kNotFound,
                    "{}: does not exist, or is not for everybody (401){}: check the name, or give "
                    "a token in HF_TOKEN",
                    where, words);
      return fail(ErrorKind::kNotFound,
                  "{}: the token is not accepted (401){}: check the name, and make a new token",
                  where, words);
    case 403:
      return fail(ErrorKind::kIo,
                  "{}: access is refused (403){}: accept the model's terms on its page, and give a "
                  "token of that account in HF_TOKEN",
                  where, words);
    case 404:
      return fail(ErrorKind::kNotFound, "{}: does not exist (404){}: check the name", where, words);
    case 429:
      return fail(ErrorKind::kIo,
                  "{}: too many requests (429): wait some minutes, or give a token in HF_TOKEN",
                  where);
    default:
      if (response.status >= 500)
        return fail(ErrorKind::kIo, "{}: the server has trouble (status {}){}: try again later",
                    where, response.status, words);
      return fail(ErrorKind::kIo, "{}: answers with status {}{}: check the address", where,
                  response.status, words);
  }
}

std::string one_line(const std::string& text) {
  std::string out;
  for (const char c : text.substr(0, 300)) out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  return out;
}

bool rest(int milliseconds, const std::atomic<bool>* cancel, const std::atomic<bool>* stop) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (std::chrono::steady_clock::now() < end) {
    if (is_set(cancel) || is_set(stop)) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return !is_set(cancel) && !is_set(stop);
}

int rest_before(int attempt) {
  return std::min(200 << (attempt - 1), 5000);
}

}  // namespace sluice::hub
