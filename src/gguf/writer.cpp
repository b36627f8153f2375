// SPDX-License-Identifier: Apache-2.0
#include "gguf/writer.h"

#include <array>
#include <bit>
#include <limits>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "base/check.h"
#include "gguf/cursor.h"
#include "gguf/messages.h"
#include "gguf/output_file.h"
#include "gguf/part.h"

namespace sluice::gguf {
namespace {

// The header grows in memory (a few MiB: the vocabulary is most of it) and goes out in one piece.
class Header {
 public:
  template <typename T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void string(std::string_view text) {
    number<uint64_t>(text.size());
    bytes_.append(text);
  }
  void pad(uint64_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
  }
  std::span<const uint8_t> bytes() const {
    return {reinterpret_cast<const uint8_t*>(bytes_.data()), bytes_.size()};
  }

 private:
  std::string bytes_;
};

tl::unexpected<Error> mismatch(std::string_view key, ValueType type) {
  return fail(ErrorKind::kUsage,
              "key {}: the value given is not of its type, {}, or out of its range", quote(key),
              value_type_name(type));
}

// Narrows to what the file holds, or refuses.
template <typename Stored, typename Wide>
bool put_integer(Header& header, Wide value) {
  if (!std::in_range<Stored>(value)) return false;
  header.number(static_cast<Stored>(value));
  return true;
}

bool put(Header& header, ValueType type, uint64_t value) {
  switch (type) {
    case ValueType::kU8:
      return put_integer<uint8_t>(header, value);
    case ValueType::kU16:
      return put_integer<uint16_t>(header, value);
    case ValueType::kU32:
      return put_integer<uint32_t>(header, value);
    case ValueType::kU64:
      return put_integer<uint64_t>(header, value);
    default:
      return false;
  }
}

bool put(Header& header, ValueType type, int64_t value) {
  switch (type) {
    case ValueType::kI8:
      return put_integer<int8_t>(header, value);
    case ValueType::kI16:
      return put_integer<int16_t>(header, value);
    case ValueType::kI32:
      return put_integer<int32_t>(header, value);
    case ValueType::kI64:
      return put_integer<int64_t>(header, value);
    default:
      return false;
  }
}

bool put(Header& header, ValueType type, double value) {
  if (type == ValueType::kF64) {
    header.number(value);
    return true;
  }
  // A finite number beyond f32's range has no f32; infinities and NaN do.
  const double magnitude = value < 0 ? -value : value;
  const bool finite = magnitude <= std::numeric_limits<double>::max();
  if (type != ValueType::kF32 || (finite && magnitude > std::numeric_limits<float>::max()))
    return false;
  header.number(static_cast<float>(value));
  return true;
}

bool put(Header& header, ValueType type, bool value) {
  if (type != ValueType::kBool) return false;
  header.number<uint8_t>(value ? 1 : 0);
  return true;
}

bool put(Header& header, ValueType type, const std::string& value) {
  if (type != ValueType::kString || value.size() > Metadata::kMaxStringBytes) return false;
  header.string(value);
  return true;
}

bool put(Header& header, ValueType type, const Array& array) {
  if (type != ValueType::kArray) return false;
  header.number(static_cast<uint32_t>(array.element_type));
  header.number<uint64_t>(array.size());
  return std::visit(
      [&](const auto& values) {
        using Element = typename std::decay_t<decltype(values)>::value_type;
        for (const Element& value : values) {
          if (!put(header, array.element_type, value)) return false;
        }
        return true;
      },
      array.elements);
}

Status put_pair(Header& header, const std::string& key, const Value& value) {
  if (key.empty() || key.size() > Metadata::kMaxKeyBytes) {
    return fail(ErrorKind::kUsage, "key {}: a key has 1 to {} bytes", quote(key),
                Metadata::kMaxKeyBytes);
  }
  header.string(key);
  header.number(static_cast<uint32_t>(value.type));
  const bool fits =
      std::visit([&](const auto& data) { return put(header, value.type, data); }, value.data);
  if (!fits) return mismatch(key, value.type);
  return {};
}

struct Declared {
  std::string name;
  quant::Type type;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;  // known after check_tensor
};

Status check_tensor(Declared& tensor) {
  if (tensor.name.empty() || tensor.name.size() > kMaxTensorNameBytes) {
    return fail(ErrorKind::kUsage, "tensor {}: a name has 1 to {} bytes", quote(tensor.name),
                kMaxTensorNameBytes);
  }
  if (tensor.shape.empty() || tensor.shape.size() > kMaxDimensions) {
    return fail(ErrorKind::kUsage, "tensor {}: {} dimensions, 1 to {} are possible",
                quote(tensor.name), tensor.shape.size(), kMaxDimensions);
  }
  std::array<int64_t, 4> shape = {1, 1, 1, 1};
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] <= 0) {
      return fail(ErrorKind::kUsage, "tensor {}: size {} of dimension {} is not positive",
                  quote(tensor.name), tensor.shape[i], i);
    }
    shape[i] = tensor.shape[i];
  }
  const quant::Traits* traits = quant::find_traits(static_cast<uint32_t>(tensor.type));
  if (!traits) {
    return fail(ErrorKind::kUsage, "tensor {}: type id {} has no layout", quote(tensor.name),
                static_cast<uint32_t>(tensor.type));
  }
  const Result<uint64_t> bytes = tensor_bytes(*traits, shape);
  if (!bytes) {
    return fail(ErrorKind::kUsage, "tensor {}: {}", quote(tensor.name), bytes.error().message);
  }
  tensor.bytes = *bytes;
  return {};
}

}  // namespace

struct Writer::State {
  std::vector<std::pair<std::string, Value>> metadata;
  std::vector<Declared> tensors;
  uint64_t alignment = kDefaultAlignment;

  OutputFile file;
  bool begun = false;
  Status status;       // the first error stays
  size_t current = 0;  // index of the tensor being written
  uint64_t done = 0;   // bytes of it

  Status find_alignment();
  Result<Header> make_header();
  uint64_t padding() const { return (alignment - tensors[current].bytes % alignment) % alignment; }
  Status append(std::span<const uint8_t> bytes);
  Status complete();
};

Writer::Writer() : state_(std::make_unique<State>()) {}
Writer::~Writer() = default;
Writer::Writer(Writer&& other) noexcept = default;
Writer& Writer::operator=(Writer&& other) noexcept = default;

void Writer::set(std::string key, Value value) {
  SLUICE_CHECK(!state_->begun, "metadata is set before begin");
  for (auto& [existing, old_value] : state_->metadata) {
    if (existing == key) {
      old_value = std::move(value);
      return;
    }
  }
  state_->metadata.emplace_back(std::move(key), std::move(value));
}

void Writer::set_string(std::string key, std::string value) {
  set(std::move(key), Value{ValueType::kString, std::move(value)});
}

void Writer::set_u32(std::string key, uint32_t value) {
  set(std::move(key), Value{ValueType::kU32, uint64_t{value}});
}

void Writer::set_f32(std::string key, float value) {
  set(std::move(key), Value{ValueType::kF32, double{value}});
}

void Writer::set_bool(std::string key, bool value) {
  set(std::move(key), Value{ValueType::kBool, value});
}

void Writer::set_strings(std::string key, std::vector<std::string> values) {
  set(std::move(key), Value{ValueType::kArray, Array{ValueType::kString, std::move(values)}});
}

void Writer::set_i32s(std::string key, std::vector<int32_t> values) {
  std::vector<int64_t> wide(values.begin(), values.end());
  set(std::move(key), Value{ValueType::kArray, Array{ValueType::kI32, std::move(wide)}});
}

void Writer::add_tensor(std::string name, quant::Type type, std::vector<int64_t> shape) {
  SLUICE_CHECK(!state_->begun, "tensors are declared before begin");
  state_->tensors.push_back({std::move(name), type, std::move(shape)});
}

Status Writer::State::find_alignment() {
  for (const auto& [key, value] : metadata) {
    if (key != "general.alignment") continue;
    const uint64_t* number = std::get_if<uint64_t>(&value.data);
    if (value.type != ValueType::kU32 || !number || !std::has_single_bit(*number) ||
        *number > kMaxAlignment) {
      return fail(ErrorKind::kUsage,
                  "key 'general.alignment': must be a u32, a power of two up to {}", kMaxAlignment);
    }
    alignment = *number;
  }
  return {};
}

Result<Header> Writer::State::make_header() {
  SLUICE_TRY(find_alignment());
  Header header;
  header.number(kMagic);
  header.number<uint32_t>(3);
  header.number<uint64_t>(tensors.size());
  header.number<uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) SLUICE_TRY(put_pair(header, key, value));

  std::unordered_set<std::string_view> names;
  uint64_t offset = 0;
  for (Declared& tensor : tensors) {
    SLUICE_TRY(check_tensor(tensor));
    if (!names.insert(tensor.name).second) {
      return fail(ErrorKind::kUsage, "tensor {}: declared twice", quote(tensor.name));
    }
    header.string(tensor.name);
    header.number(static_cast<uint32_t>(tensor.shape.size()));
    for (const int64_t size : tensor.shape) header.number(size);
    header.number(static_cast<uint32_t>(tensor.type));
    header.number(offset);
    if (!checked_add(offset, tensor.bytes, &offset) ||
        !checked_add(offset, alignment - 1, &offset)) {
      return fail(ErrorKind::kUsage, "tensor {}: the file's size overflows", quote(tensor.name));
    }
    offset = offset / alignment * alignment;
  }
  if (!tensors.empty()) header.pad(alignment);
  return header;
}

Status Writer::begin(const std::string& path) {
  State& state = *state_;
  SLUICE_CHECK(!state.begun, "begin is called once");
  state.begun = true;
  state.status = [&]() -> Status {
    SLUICE_ASSIGN(const Header header, state.make_header());
    SLUICE_ASSIGN(state.file, OutputFile::create(path));
    return state.file.append(header.bytes());
  }();
  return state.status;
}

Status Writer::State::append(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return {};
  if (current == tensors.size()) {
    return fail(ErrorKind::kUsage, "{}: {} bytes more than the declared tensors have", file.path(),
                bytes.size());
  }
  const Declared& tensor = tensors[current];
  if (bytes.size() > tensor.bytes - done) {
    return fail(ErrorKind::kUsage,
                "{}: tensor {}: {} bytes written to its {}: a piece spans tensors", file.path(),
                quote(tensor.name), done + bytes.size(), tensor.bytes);
  }
  SLUICE_TRY(file.append(bytes));
  done += bytes.size();
  if (done < tensor.bytes) return {};
  const std::vector<uint8_t> zeros(static_cast<size_t>(padding()));
  SLUICE_TRY(file.append(zeros));
  ++current;
  done = 0;
  return {};
}

Status Writer::write(std::span<const uint8_t> bytes) {
  SLUICE_CHECK(state_->begun, "begin comes before write");
  SLUICE_TRY(state_->status);
  return state_->status = state_->append(bytes);
}

Status Writer::State::complete() {
  if (current < tensors.size()) {
    return fail(ErrorKind::kUsage, "{}: tensor {}: {} of its {} bytes were written", file.path(),
                quote(tensors[current].name), done, tensors[current].bytes);
  }
  return file.commit();
}

Status Writer::finish() {
  SLUICE_CHECK(state_->begun, "begin comes before finish");
  SLUICE_TRY(state_->status);
  state_->status = state_->complete();
  if (state_->status) {
    state_->status = fail(ErrorKind::kUsage, "{}: is finished already", state_->file.path());
    return {};
  }
  return state_->status;
}

}  // namespace sluice::gguf
