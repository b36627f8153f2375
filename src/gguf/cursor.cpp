// SPDX-License-Identifier: Apache-2.0
#include "gguf/cursor.h"

namespace sluice::gguf {
namespace {

constexpr uint64_t kChunkBytes = 256 << 10;

// A failed read names file and offset already; add what it was for.
Error while_reading(Error error, std::string_view field) {
  error.message += fmt::format(" (reading {})", field);
  return error;
}

}  // namespace

Cursor::Cursor(const storage::Reader& reader)
    : reader_(reader),
      limit_(std::min(reader.size(), kMaxHeaderBytes)),
      buffer_(static_cast<size_t>(std::min(limit_, kChunkBytes))) {}

Status Cursor::refill(size_t bytes, std::string_view field) {
  if (bytes > remaining()) return overrun(bytes, field);
  const size_t kept = filled_ - begin_;
  std::memmove(buffer_.data(), buffer_.data() + begin_, kept);
  const size_t wanted =
      static_cast<size_t>(std::min<uint64_t>(buffer_.size() - kept, remaining() - kept));
  begin_ = 0;
  filled_ = kept;
  const Status status =
      reader_.read_at(position_ + kept, std::span<uint8_t>(buffer_.data() + kept, wanted));
  if (!status) return fail(while_reading(status.error(), field));
  filled_ += wanted;
  return {};
}

Result<std::string> Cursor::string(std::string_view field, uint64_t max_bytes) {
  const uint64_t start = position_;
  SLUICE_ASSIGN(const uint64_t length, number<uint64_t>(field));
  if (length > remaining()) {
    if (limit_ < reader_.size() || length <= max_bytes) return overrun(length, field);
    return error(
        ErrorKind::kBadFile, field, start,
        "the string's length is {} but {} bytes remain: the file is damaged, download it again",
        length, remaining());
  }
  if (length > max_bytes) {
    return error(ErrorKind::kBadFile, field, start, "the string's length is {}, more than {}",
                 length, max_bytes);
  }
  std::string text(static_cast<size_t>(length), '\0');
  const size_t buffered = std::min(text.size(), filled_ - begin_);
  std::memcpy(text.data(), buffer_.data() + begin_, buffered);
  begin_ += buffered;
  position_ += buffered;
  const size_t rest = text.size() - buffered;
  if (rest == 0) return text;
  if (rest < buffer_.size()) {
    SLUICE_TRY(refill(rest, field));
    std::memcpy(text.data() + buffered, buffer_.data() + begin_, rest);
    begin_ += rest;
  } else {
    const std::span<uint8_t> out(reinterpret_cast<uint8_t*>(text.data()) + buffered, rest);
    const Status status = reader_.read_at(position_, out);
    if (!status) return fail(while_reading(status.error(), field));
  }
  position_ += rest;
  return text;
}

Status Cursor::expect(uint64_t count, uint64_t entry_bytes, std::string_view field) const {
  uint64_t bytes;
  if (checked_multiply(count, entry_bytes, &bytes) && bytes <= remaining()) return {};
  return error(
      ErrorKind::kBadFile, field, position_,
      "{} entries of at least {} bytes cannot lie in the {} bytes that remain: the file is "
      "damaged or cut short, download it again",
      count, entry_bytes, remaining());
}

tl::unexpected<Error> Cursor::overrun(uint64_t bytes, std::string_view field) const {
  if (limit_ < reader_.size()) {
    return error(ErrorKind::kTooLarge, field, position_,
                 "{} bytes more would make the header longer than the {} MiB accepted: the file is "
                 "damaged, download it again",
                 bytes, kMaxHeaderBytes >> 20);
  }
  return error(ErrorKind::kBadFile, field, position_,
               "needs {} bytes but the file ends at byte {}: it is cut short, download it again",
               bytes, reader_.size());
}

}  // namespace sluice::gguf
