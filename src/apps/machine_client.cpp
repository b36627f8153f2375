// SPDX-License-Identifier: Apache-2.0
#include "apps/machine_client.h"

#include <cstdlib>
#include <optional>

#include "apps/machine_state.h"
#include "hub/curl_handles.h"

namespace sluice::apps {
namespace {

constexpr size_t kLongestDescription = size_t{1} << 20;
constexpr long kConnectSeconds = 5;
// The server sends four events a second.
constexpr long kSilentSeconds = 10;

// "host:port" becomes "http://host:port"; nullopt for what is no address of a web server.
std::optional<std::string> full_url(const std::string& text) {
  const hub::CurlUrlHandle url(curl_url());
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_GUESS_SCHEME) != CURLUE_OK)
    return std::nullopt;
  const auto part = [&](CURLUPart which) {
    char* value = nullptr;
    if (curl_url_get(url.get(), which, &value, 0) != CURLUE_OK) return std::string();
    std::string copy(value);
    curl_free(value);
    return copy;
  };
  if (const std::string scheme = part(CURLUPART_SCHEME); scheme != "http" && scheme != "https")
    return std::nullopt;
  curl_url_set(url.get(), CURLUPART_QUERY, nullptr, 0);
  curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0);
  std::string full = part(CURLUPART_URL);
  while (full.ends_with('/')) full.pop_back();
  return full;
}

}  // namespace

struct MachineClient::Impl {
  ServerAddress address;
  std::string base;  // its URL in full, without a slash at the end
  hub::CurlList headers;
  hub::CurlMultiHandle multi;
  hub::CurlHandle stream;  // in `multi`
  std::string body;        // of an answer that is no stream, or no success
  EventLines lines;
  std::vector<std::string> events;
  Status content;  // what is wrong with the stream's

  ~Impl() { close(); }
  void close() {
    if (stream) curl_multi_remove_handle(multi.get(), stream.get());
    stream.reset();
  }

  Result<hub::CurlHandle> request(const std::string& path) {
    hub::CurlHandle handle(curl_easy_init());
    if (!handle) return fail(ErrorKind::kTooLarge, "no memory for a connection");
    CURL* h = handle.get();
    curl_easy_setopt(h, CURLOPT_URL, (base + path).c_str());
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    // A proxy of the environment does not know this machine.
    std::string direct = "localhost,127.0.0.1,::1";
    for (const char* name : {"no_proxy", "NO_PROXY"})
      if (const char* more = std::getenv(name)) direct += std::string(",") + more;
    curl_easy_setopt(h, CURLOPT_NOPROXY, direct.c_str());
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, kSilentSeconds);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
    if (!address.ca_file.empty()) curl_easy_setopt(h, CURLOPT_CAINFO, address.ca_file.c_str());
    curl_easy_setopt(h, CURLOPT_PRIVATE, this);
    return handle;
  }

  Error explain(CURLcode code) const {
    const char* why = code == CURLE_COULDNT_CONNECT ? "nobody listens there: start `sluice serve`"
                      : code == CURLE_PEER_FAILED_VERIFICATION
                          ? "its certificate is not trusted: name it with --ca-file"
                          : curl_easy_strerror(code);
    return {ErrorKind::kIo, fmt::format("{}: {}", address.url, why)};
  }

  Status check(CURL* handle) const {
    long status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) return {};
    if (status == 401 || status == 403)
      return fail(ErrorKind::kUsage, "{}: {}", address.url,
                  status == 403 ? "the server refuses that name: use its address, or a key"
                  : address.key.empty()
                      ? "the server wants a key: --api-key-file, or SLUICE_API_KEY"
                      : "the server does not know that key");
    if (status == 404 || status == 501)
      return fail(ErrorKind::kUnsupported,
                  "{}: the server does not tell what its machine does: `sluice serve` does",
                  address.url);
    return fail(ErrorKind::kIo, "{}: the server answers with status {}", address.url, status);
  }
};

MachineClient::MachineClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MachineClient::~MachineClient() = default;

Result<std::unique_ptr<MachineClient>> MachineClient::create(const ServerAddress& address) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  auto impl = std::make_unique<Impl>();
  impl->address = address;
  if (ready == CURLE_OK) impl->multi.reset(curl_multi_init());
  if (!impl->multi) return fail(ErrorKind::kTooLarge, "no memory for a connection");
  const auto base = full_url(address.url);
  if (!base)
    return fail(ErrorKind::kUsage, "{}: no address of a server, such as http://127.0.0.1:8080",
                address.url);
  impl->base = *base;
  for (const char c : address.key)
    if (static_cast<unsigned char>(c) < 0x20)
      return fail(ErrorKind::kUsage, "the key has a control character in it");
  if (!address.key.empty())
    impl->headers.reset(
        curl_slist_append(nullptr, ("Authorization: Bearer " + address.key).c_str()));
  return std::unique_ptr<MachineClient>(new MachineClient(std::move(impl)));
}

Result<std::string> MachineClient::description() {
  SLUICE_ASSIGN(const auto handle, impl_->request("/machine"));
  std::string body;
  curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(
      handle.get(), CURLOPT_WRITEFUNCTION,
      +[](char* data, size_t, size_t bytes, void* to) -> size_t {
        auto& text = *static_cast<std::string*>(to);
        if (text.size() + bytes > kLongestDescription) return 0;
        text.append(data, bytes);
        return bytes;
      });
  const CURLcode code = curl_easy_perform(handle.get());
  if (code == CURLE_WRITE_ERROR)
    return fail(ErrorKind::kBadFile, "{}: /machine: not what `sluice serve` says",
                impl_->address.url);
  if (code != CURLE_OK) return fail(impl_->explain(code));
  SLUICE_TRY(impl_->check(handle.get()));
  return body;
}

Status MachineClient::open() {
  Impl& s = *impl_;
  s.close();
  s.lines = {};
  s.events.clear();
  s.content = {};
  SLUICE_ASSIGN(s.stream, s.request("/machine/stream"));
  curl_easy_setopt(s.stream.get(), CURLOPT_WRITEDATA, &s);
  curl_easy_setopt(
      s.stream.get(), CURLOPT_WRITEFUNCTION,
      +[](char* data, size_t, size_t bytes, void* to) -> size_t {
        Impl& impl = *static_cast<Impl*>(to);
        impl.content = impl.lines.add({data, bytes}, impl.events);
        return impl.content ? bytes : 0;
      });
  if (curl_multi_add_handle(s.multi.get(), s.stream.get()) != CURLM_OK)
    return fail(ErrorKind::kTooLarge, "no memory for a connection");
  return {};
}

Result<std::vector<std::string>> MachineClient::events(int descriptor, int milliseconds) {
  Impl& s = *impl_;
  int running = 0;
  curl_multi_perform(s.multi.get(), &running);
  if (s.events.empty() && running > 0) {
    curl_waitfd input{descriptor, CURL_WAIT_POLLIN, 0};
    curl_multi_poll(s.multi.get(), &input, descriptor >= 0 ? 1 : 0, milliseconds, nullptr);
    curl_multi_perform(s.multi.get(), &running);
  }
  if (!s.events.empty()) return std::exchange(s.events, {});
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(s.multi.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    if (!s.content) return fail(s.content.error());
    if (code != CURLE_OK) return fail(s.explain(code));
    SLUICE_TRY(s.check(message->easy_handle));
    return fail(ErrorKind::kIo, "{}: the server has ended the stream", s.address.url);
  }
  return std::vector<std::string>();
}

}  // namespace sluice::apps
