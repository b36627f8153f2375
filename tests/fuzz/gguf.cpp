// SPDX-License-Identifier: Apache-2.0
// Any bytes as a model. Input that begins with "SPLIT" and a 16-bit length is two parts, the first
// of that length; everything else is one file.
#include <cstring>

#include "../unit/gguf/memory_reader.h"
#include "base/check.h"
#include "gguf/gguf.h"

namespace {

using namespace sluice;

void check(const gguf::Gguf& model) {
  for (const auto& [key, value] : model.metadata()) {
    SLUICE_CHECK(model.find(key) == &value, "every key is found");
    (void)gguf::describe(value);
    (void)model.require_uint(key);
    (void)model.require_number(key);
    (void)model.bool_or(key, false);
    (void)model.require_string(key);
    (void)model.require_strings(key);
    (void)model.require_ints(key);
  }
  for (const gguf::Tensor& tensor : model.tensors()) {
    SLUICE_CHECK(model.find_tensor(tensor.name) == &tensor, "every tensor is found");
    SLUICE_CHECK(tensor.elements() > 0, "tensors have elements");
    const uint64_t size = model.files()[static_cast<size_t>(tensor.file)]->size();
    SLUICE_CHECK(tensor.offset <= size && tensor.bytes <= size - tensor.offset,
                 "every tensor lies in its file");
    SLUICE_CHECK(tensor.bytes > 0, "tensors have bytes");
    std::vector<uint8_t> data(tensor.bytes);
    SLUICE_CHECK(model.read(tensor, data).has_value(), "every tensor can be read");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::string_view kSplit = "SPLIT";
  std::string bytes(reinterpret_cast<const char*>(data), size);
  std::vector<std::unique_ptr<storage::Reader>> files;
  if (bytes.starts_with(kSplit) && size >= kSplit.size() + 2) {
    uint16_t length;
    std::memcpy(&length, bytes.data() + kSplit.size(), sizeof(length));
    const std::string parts = bytes.substr(kSplit.size() + sizeof(length));
    const size_t first = std::min<size_t>(length, parts.size());
    files = storage::one_file(parts.substr(0, first), "first.gguf");
    files.push_back(std::make_unique<storage::MemoryReader>(parts.substr(first), "second.gguf"));
  } else {
    files = storage::one_file(std::move(bytes));
  }
  const auto model = gguf::Gguf::parse(std::move(files));
  if (model) {
    check(*model);
  } else {
    SLUICE_CHECK(!model.error().message.empty(), "errors have a message");
    SLUICE_CHECK(model.error().message.find('\n') == std::string::npos, "errors are one line");
    SLUICE_CHECK(model.error().kind != ErrorKind::kIo, "memory does not fail");
  }
  return 0;
}
