// SPDX-License-Identifier: Apache-2.0
#include "gguf/part.h"

#include <bit>

#include "gguf/cursor.h"
#include "gguf/messages.h"

namespace sluice::gguf {
namespace {

constexpr uint32_t kHtml = 0x4f44213c;     // "<!DO"CTYPE html
constexpr uint32_t kPointer = 0x73726576;  // "vers"ion https://git-lfs...

// What usually lies where a model should.
std::string_view likely_content(uint32_t magic) {
  if (magic == kHtml) return "a web page: the download went wrong, download it again";
  if (magic == kPointer) return "a Git LFS pointer: fetch the file it stands for (git lfs pull)";
  return "something else: give a model in GGUF format";
}

Result<uint32_t> read_version(Cursor& cursor) {
  const uint64_t offset = cursor.position();
  SLUICE_ASSIGN(const uint32_t version, cursor.number<uint32_t>("the version"));
  if (version == 2 || version == 3) return version;
  if (version == 0) {
    return cursor.error(ErrorKind::kBadFile, "the version", offset,
                        "0 does not exist: the file is damaged, download it again");
  }
  if (version == 1) {
    return cursor.error(ErrorKind::kUnsupported, "the version", offset,
                        "1 is no longer supported: convert the model again");
  }
  // The format has no mark for the byte order; a small number seen from the wrong end is the mark.
  if ((version & 0xffff) == 0) {
    return cursor.error(
        ErrorKind::kUnsupported, "the version", offset,
        "{:#010x} means a big-endian file, which is not supported: take a little-endian "
        "one",
        version);
  }
  return cursor.error(ErrorKind::kUnsupported, "the version", offset,
                      "{} is not supported, 2 and 3 are: a newer program may read it", version);
}

Result<uint64_t> read_count(Cursor& cursor, std::string_view field) {
  const uint64_t offset = cursor.position();
  SLUICE_ASSIGN(const int64_t count, cursor.number<int64_t>(field));
  if (count < 0) {
    return cursor.error(ErrorKind::kBadFile, field, offset,
                        "{} is negative: the file is damaged, download it again", count);
  }
  return static_cast<uint64_t>(count);
}

Result<uint64_t> find_alignment(const Metadata& metadata) {
  constexpr std::string_view kKey = "general.alignment";
  const Value* value = metadata.find(kKey);
  if (!value) return kDefaultAlignment;
  if (value->type != ValueType::kU32) {
    return metadata.error(
        ErrorKind::kBadFile, kKey,
        fmt::format("is of type {}, it must be u32: convert the model again", describe(*value)));
  }
  const uint64_t alignment = std::get<uint64_t>(value->data);
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
    return metadata.error(
        ErrorKind::kBadFile, kKey,
        fmt::format("{} is not a power of two from 1 to {}: convert the model again", alignment,
                    kMaxAlignment));
  }
  return alignment;
}

}  // namespace

Result<Part> read_part(const storage::Reader& reader, int file, const Split* expected,
                       TensorTable* table) {
  if (reader.size() == 0) {
    return fail(ErrorKind::kBadFile, "{}: the file is empty: download it again", reader.name());
  }
  Cursor cursor(reader);
  SLUICE_ASSIGN(const uint32_t magic, cursor.number<uint32_t>("the magic"));
  if (magic != kMagic) {
    return cursor.error(ErrorKind::kBadFile, "the magic", 0, "not a GGUF file but {}",
                        likely_content(magic));
  }
  Part part;
  SLUICE_ASSIGN(part.version, read_version(cursor));
  SLUICE_ASSIGN(const uint64_t tensor_count, read_count(cursor, "the tensor count"));
  SLUICE_ASSIGN(const uint64_t pair_count, read_count(cursor, "the metadata count"));
  SLUICE_ASSIGN(part.metadata, Metadata::read(cursor, pair_count));
  // Before the tensors: a part of another model is better named than its first odd tensor.
  if (expected) SLUICE_TRY(check_part(part.metadata, *expected, static_cast<uint64_t>(file)));
  SLUICE_ASSIGN(part.alignment, find_alignment(part.metadata));
  SLUICE_TRY(read_tensor_infos(cursor, tensor_count, part.alignment, file, table));
  return part;
}

}  // namespace sluice::gguf
