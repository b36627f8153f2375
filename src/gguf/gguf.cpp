// SPDX-License-Identifier: Apache-2.0
#include "gguf/gguf.h"

#include "base/check.h"
#include "gguf/part.h"
#include "gguf/split.h"

namespace sluice::gguf {

Result<Gguf> Gguf::open(const std::string& path) {
  SLUICE_ASSIGN(storage::File first, storage::File::open(path));
  Gguf model;
  SLUICE_TRY(model.add_first(std::make_unique<storage::File>(std::move(first))));
  const uint64_t parts = model.split_.count;
  if (parts > 1) {
    const auto name = parse_split_name(path);
    if (!name || name->number != 1 || name->count != parts) {
      return model.metadata_.error(
          ErrorKind::kBadFile, "split.count",
          fmt::format(
              "this is the first of {} parts, so its name must end with '{}': rename it back",
              parts, split_path("", 1, parts)));
    }
    for (uint64_t number = 2; number <= parts; ++number) {
      const std::string part_path = split_path(name->prefix, number, parts);
      auto file = storage::File::open(part_path);
      if (!file) {
        Error error = std::move(file.error());
        error.message +=
            fmt::format(" (part {} of {} of this model: all lie in one folder)", number, parts);
        return fail(std::move(error));
      }
      SLUICE_TRY(model.add_next(std::make_unique<storage::File>(std::move(*file))));
    }
  }
  SLUICE_TRY(check_total(model.metadata_, model.split_, model.table_.tensors.size()));
  return model;
}

Result<Gguf> Gguf::parse(std::vector<std::unique_ptr<storage::Reader>> files) {
  SLUICE_CHECK(!files.empty(), "a model needs a file");
  const uint64_t given = files.size();
  Gguf model;
  SLUICE_TRY(model.add_first(std::move(files[0])));
  if (model.split_.count != given) {
    return fail(ErrorKind::kBadFile, "{}: key 'split.count': the model has {} parts, {} were given",
                model.files_[0]->name(), model.split_.count, given);
  }
  for (uint64_t i = 1; i < given; ++i) SLUICE_TRY(model.add_next(std::move(files[i])));
  SLUICE_TRY(check_total(model.metadata_, model.split_, model.table_.tensors.size()));
  return model;
}

Status Gguf::add_first(std::unique_ptr<storage::Reader> reader) {
  SLUICE_ASSIGN(Part part, read_part(*reader, 0, nullptr, &table_));
  SLUICE_ASSIGN(split_, read_split(part.metadata, reader->name()));
  version_ = part.version;
  alignment_ = part.alignment;
  metadata_ = std::move(part.metadata);
  files_.push_back(std::move(reader));
  return {};
}

Status Gguf::add_next(std::unique_ptr<storage::Reader> reader) {
  SLUICE_TRY(read_part(*reader, static_cast<int>(files_.size()), &split_, &table_));
  files_.push_back(std::move(reader));
  return {};
}

uint64_t Gguf::file_bytes() const {
  uint64_t bytes = 0;
  for (const auto& file : files_) bytes += file->size();
  return bytes;
}

const Tensor* Gguf::find_tensor(std::string_view name) const {
  const auto entry = table_.index.find(name);
  return entry == table_.index.end() ? nullptr : &table_.tensors[entry->second];
}

Status Gguf::read(const Tensor& tensor, std::span<uint8_t> out) const {
  SLUICE_CHECK(out.size() == tensor.bytes, "the buffer must have the tensor's size");
  SLUICE_CHECK(static_cast<size_t>(tensor.file) < files_.size(), "the tensor is of this model");
  return files_[static_cast<size_t>(tensor.file)]->read_at(tensor.offset, out);
}

}  // namespace sluice::gguf
