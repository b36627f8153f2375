// SPDX-License-Identifier: Apache-2.0
// Reads an untrusted header byte by byte. All arithmetic on declared sizes is in here, and nothing
// is allocated before its size was proven against the bytes that remain.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "storage/file.h"

namespace sluice::gguf {

static_assert(std::endian::native == std::endian::little,
              "fields are copied as they lie in the file");

// a + b and a * b; false when the result does not fit into 64 bits.
[[nodiscard]] inline bool checked_add(uint64_t a, uint64_t b, uint64_t* sum) {
  return !__builtin_add_overflow(a, b, sum);
}
[[nodiscard]] inline bool checked_multiply(uint64_t a, uint64_t b, uint64_t* product) {
  return !__builtin_mul_overflow(a, b, product);
}

// `field` is what errors call the thing being read ("key 'general.name'").
class Cursor {
 public:
  // Longest header accepted. The largest published ones are near 20 MiB.
  static constexpr uint64_t kMaxHeaderBytes = uint64_t{256} << 20;

  // Reads from the start of `reader`, which must outlive the cursor.
  explicit Cursor(const storage::Reader& reader);

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return limit_ - position_; }
  const storage::Reader& reader() const { return reader_; }

  // A little-endian number. kBadFile when the file ends first, kTooLarge when the header grows
  // beyond kMaxHeaderBytes, kIo when the system refuses.
  template <typename T>
  Result<T> number(std::string_view field) {
    static_assert(std::is_arithmetic_v<T>);
    if (static_cast<size_t>(filled_ - begin_) < sizeof(T)) [[unlikely]] {
      SLUICE_TRY(refill(sizeof(T), field));
    }
    T value;
    std::memcpy(&value, buffer_.data() + begin_, sizeof(T));
    begin_ += sizeof(T);
    position_ += sizeof(T);
    return value;
  }

  // A 64-bit length and that many bytes; kBadFile when the length exceeds `max_bytes` or the file.
  Result<std::string> string(std::string_view field, uint64_t max_bytes);

  // Fails unless `count` entries of at least `entry_bytes` fit into what remains.
  Status expect(uint64_t count, uint64_t entry_bytes, std::string_view field) const;

  // An error at a byte of this file: "<file>: <field> at byte <offset>: <what>".
  template <typename... Args>
  tl::unexpected<Error> error(ErrorKind kind, std::string_view field, uint64_t offset,
                              fmt::format_string<Args...> format, Args&&... args) const {
    return fail(kind, "{}: {} at byte {}: {}", reader_.name(), field, offset,
                fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  // Makes `bytes` (at most a few) available in the buffer.
  Status refill(size_t bytes, std::string_view field);
  tl::unexpected<Error> overrun(uint64_t bytes, std::string_view field) const;

  const storage::Reader& reader_;
  uint64_t limit_;         // the file's end, or kMaxHeaderBytes
  uint64_t position_ = 0;  // of the next byte to hand out
  std::vector<uint8_t> buffer_;
  size_t begin_ = 0;   // buffer_[begin_] is the byte at position_
  size_t filled_ = 0;  // end of the valid bytes in buffer_
};

}  // namespace sluice::gguf
