// SPDX-License-Identifier: Apache-2.0
#include "server/slot_file.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <type_traits>

#include "base/no_memory.h"

namespace sluice::server {
namespace {

// A temporary name has eight bytes more.
constexpr size_t kLongestName = 200;
// Snapshots may be padded.
constexpr uint64_t kSlack = uint64_t{1} << 20;

using Digest = std::array<uint8_t, 32>;

struct FileHeader {
  static constexpr uint64_t kMagic = 0x544f4c5345435553;  // "SUCESLOT"
  static constexpr uint32_t kVersion = 1;

  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  uint32_t checkpoints = 0;
  std::array<uint8_t, 16> salt{};
  Digest owner{};
  uint64_t tokens = 0;
  uint64_t memory = 0;  // bytes of the snapshot
};
static_assert(std::is_trivially_copyable_v<FileHeader> && sizeof(FileHeader) == 80,
              "the header is written as it lies in memory");

struct CheckpointHeader {
  int64_t position = 0;
  uint64_t turn = 0;
  uint64_t memory = 0;  // bytes of the snapshot
  uint64_t logits = 0;  // how many
};
static_assert(std::is_trivially_copyable_v<CheckpointHeader> && sizeof(CheckpointHeader) == 32,
              "the header is written as it lies in memory");

template <typename T>
std::span<const uint8_t> bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

template <typename T>
std::span<uint8_t> bytes_of(T& value) {
  return {reinterpret_cast<uint8_t*>(&value), sizeof(value)};
}

std::string reason(int error) {
  return std::error_code(error, std::generic_category()).message();
}

tl::unexpected<Error> damaged(const std::string& name, const char* how) {
  return fail(ErrorKind::kBadFile,
              "{}: the file was cut or changed ({}): delete it, and save the slot again", name,
              how);
}

class Hash {
 public:
  Hash() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw std::bad_alloc();
  }
  void add(std::span<const uint8_t> bytes) {
    EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
  }
  Digest end() {
    Digest digest{};
    EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

Digest hash_of_owner(const std::string& owner, std::span<const uint8_t> salt) {
  Hash hash;
  hash.add(salt);
  hash.add(bytes_of(std::span<const char>(owner)));
  return hash.end();
}

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

// Reads from the front and hashes what it reads.
class Input {
 public:
  static Result<std::unique_ptr<Input>> open(const std::string& folder, const std::string& name) {
    // Whatever lies there, opening it must not wait.
    const int descriptor = ::open((folder + "/" + name).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const int error = errno;
    auto input = std::make_unique<Input>(name, descriptor);
    if (descriptor < 0 && error == ENOENT)
      return fail(ErrorKind::kNotFound, "{}: there is no such saved slot: save one first", name);
    if (descriptor < 0) return fail(ErrorKind::kIo, "{}: cannot open: {}", name, reason(error));
    struct stat status {};
    if (::fstat(input->file_.get(), &status) != 0)
      return fail(ErrorKind::kIo, "{}: cannot read: {}", name, reason(errno));
    if (S_ISREG(status.st_mode)) input->size_ = static_cast<uint64_t>(status.st_size);
    return input;
  }
  Input(std::string name, int descriptor) : name_(std::move(name)), file_(descriptor) {}

  uint64_t size() const { return size_; }
  uint64_t left() const { return size_ - position_; }
  const std::string& name() const { return name_; }

  Status read(std::span<uint8_t> out, bool hashed = true) {
    if (out.size() > left()) return damaged(name_, "it ends too early");
    for (size_t done = 0; done < out.size();) {
      const ssize_t got = ::read(file_.get(), out.data() + done, out.size() - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail(ErrorKind::kIo, "{}: cannot read: {}", name_, reason(errno));
      if (got == 0) return damaged(name_, "it ends too early");
      done += static_cast<size_t>(got);
    }
    position_ += out.size();
    if (hashed) hash_.add(out);
    return {};
  }
  Status skip(uint64_t bytes) {
    std::vector<uint8_t> part(static_cast<size_t>(std::min<uint64_t>(bytes, 1 << 20)));
    while (bytes > 0) {
      const uint64_t now = std::min<uint64_t>(bytes, part.size());
      SLUICE_TRY(read(std::span(part).first(static_cast<size_t>(now))));
      bytes -= now;
    }
    return {};
  }
  Digest hash() { return hash_.end(); }

 private:
  std::string name_;
  Descriptor file_;
  uint64_t size_ = 0, position_ = 0;
  Hash hash_;
};

Result<FileHeader> read_header(Input& input) {
  FileHeader header;
  const auto foreign = [&] {
    return fail(ErrorKind::kBadFile, "{}: no saved slot: use another filename", input.name());
  };
  if (input.size() < sizeof(header)) return foreign();
  SLUICE_TRY(input.read(bytes_of(header)));
  if (header.magic != FileHeader::kMagic) return foreign();
  if (header.version != FileHeader::kVersion)
    return fail(
        ErrorKind::kBadFile,
        "{}: a saved slot of version {}, this program reads version {}: delete it, and save "
        "the slot again",
        input.name(), header.version, FileHeader::kVersion);
  return header;
}

bool belongs_to(const FileHeader& header, const std::string& owner) {
  const Digest digest = hash_of_owner(owner, header.salt);
  return CRYPTO_memcmp(digest.data(), header.owner.data(), digest.size()) == 0;
}

// Whether the file may be replaced, if there is one.
Status check_replaced(const std::string& folder, const std::string& name,
                      const std::string& owner) {
  auto input = Input::open(folder, name);
  if (!input)
    return input.error().kind == ErrorKind::kNotFound ? Status{} : fail(std::move(input.error()));
  auto header = read_header(**input);
  if (!header)
    return fail(
        header.error().kind == ErrorKind::kBadFile ? ErrorKind::kUsage : header.error().kind,
        "is there already; {}", header.error().message);
  if (!belongs_to(*header, owner))
    return fail(ErrorKind::kUsage, "{}: saved with another API key: use another filename", name);
  return {};
}

// Writes to a temporary file, which goes unless it takes its name.
class Output {
 public:
  Output(const std::string& folder, const std::string& name)
      : name_(name),
        path_(folder + "/" + name),
        fresh_(folder + "/." + name + ".XXXXXX"),
        file_(::mkostemp(fresh_.data(), O_CLOEXEC)),
        error_(file_.get() < 0 ? errno : 0) {}
  ~Output() {
    if (file_.get() >= 0 && !named_) ::unlink(fresh_.c_str());
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::span<const uint8_t> bytes) {
    hash_.add(bytes);
    append(bytes);
  }
  Result<uint64_t> end() {
    append(hash_.end());
    if (error_ == 0 && ::fdatasync(file_.get()) != 0) error_ = errno;
    if (error_ == 0 && ::rename(fresh_.c_str(), path_.c_str()) != 0) error_ = errno;
    if (error_ != 0)
      return fail(ErrorKind::kIo, "{}: cannot write: {}: look at the folder of --slot-save-path",
                  name_, reason(error_));
    named_ = true;
    return written_;
  }

 private:
  void append(std::span<const uint8_t> bytes) {
    while (!bytes.empty() && error_ == 0) {
      const ssize_t now = ::write(file_.get(), bytes.data(), bytes.size());
      if (now < 0) {
        if (errno != EINTR) error_ = errno;
        continue;
      }
      written_ += static_cast<uint64_t>(now);
      bytes = bytes.subspan(static_cast<size_t>(now));
    }
  }

  Hash hash_;  // first: there is no file yet where it fails
  std::string name_, path_, fresh_;
  Descriptor file_;
  int error_ = 0;
  uint64_t written_ = 0;
  bool named_ = false;
};

Result<model::Snapshot> read_snapshot(Input& input, uint64_t bytes, uint64_t most) {
  model::SnapshotHeader raw;
  if (bytes < sizeof(raw) || bytes > input.left()) return damaged(input.name(), "sizes");
  if (bytes > most)
    return fail(ErrorKind::kUsage,
                "{}: {} bytes of memory where a slot has {}: it is of another model, or of other "
                "cache types",
                input.name(), bytes, most);
  SLUICE_TRY(input.read(bytes_of(raw)));
  const auto header = model::Snapshot::parse(bytes_of(raw));
  if (!header) return fail(header.error().kind, "{}: {}", input.name(), header.error().message);
  SLUICE_ASSIGN(model::Snapshot snapshot,
                model::Snapshot::create(header->header(), bytes - sizeof(raw)));
  SLUICE_TRY(input.read(snapshot.payload()));
  return snapshot;
}

Status read_checkpoint(Input& input, bool keep, const SlotLimits& limits,
                       std::vector<engine::Checkpoints::Entry>& entries) {
  CheckpointHeader header;
  SLUICE_TRY(input.read(bytes_of(header)));
  uint64_t logits = 0;
  if (__builtin_mul_overflow(header.logits, sizeof(float), &logits) || logits > input.left() ||
      header.memory > input.left() - logits)
    return damaged(input.name(), "sizes");
  if (!keep || limits.memory.checkpoint == 0) return input.skip(header.memory + logits);
  SLUICE_ASSIGN(model::Snapshot memory,
                read_snapshot(input, header.memory, limits.memory.checkpoint + kSlack));
  if (logits > limits.memory.checkpoint) return damaged(input.name(), "sizes");
  std::vector<float> values(static_cast<size_t>(header.logits));
  SLUICE_TRY(input.read({reinterpret_cast<uint8_t*>(values.data()), static_cast<size_t>(logits)}));
  entries.push_back({header.position, header.turn != 0,
                     std::make_shared<const model::Snapshot>(std::move(memory)),
                     std::move(values)});
  return {};
}

Result<SlotFile> read_all(const std::string& folder, const std::string& name,
                          const std::string& owner, const SlotLimits& limits) {
  SLUICE_ASSIGN(const std::unique_ptr<Input> input, Input::open(folder, name));
  SLUICE_ASSIGN(const FileHeader header, read_header(*input));
  if (!belongs_to(header, owner))
    return fail(ErrorKind::kNotFound,
                "{}: there is no such saved slot of this API key: restore it with the key that it "
                "was saved with",
                name);
  if (header.tokens > input->left() / sizeof(text::Token)) return damaged(name, "sizes");
  if (header.tokens > static_cast<uint64_t>(limits.context))
    return fail(ErrorKind::kTooLarge,
                "{}: {} tokens, the context has {}: start the server with -c "
                "{} or more",
                name, header.tokens, limits.context, header.tokens);
  std::vector<text::Token> tokens(static_cast<size_t>(header.tokens));
  SLUICE_TRY(input->read(
      {reinterpret_cast<uint8_t*>(tokens.data()), tokens.size() * sizeof(text::Token)}));
  const uint64_t most =
      limits.memory.cache + limits.memory.states + sizeof(model::SnapshotHeader) + kSlack;
  SLUICE_ASSIGN(model::Snapshot memory, read_snapshot(*input, header.memory, most));
  std::vector<engine::Checkpoints::Entry> entries;
  for (uint32_t n = 0; n < header.checkpoints; ++n) {
    const bool keep = header.checkpoints - n <= static_cast<uint64_t>(limits.memory.checkpoints);
    SLUICE_TRY(read_checkpoint(*input, keep, limits, entries));
  }
  const Digest found = input->hash();
  Digest told{};
  if (input->left() != told.size()) return damaged(name, "its size");
  SLUICE_TRY(input->read(told, false));
  if (found != told) return damaged(name, "its checksum");
  return SlotFile{{std::move(tokens), std::move(memory), std::move(entries)}, input->size()};
}

}  // namespace

Status check_slot_name(const std::string& name) {
  const bool plain = !name.empty() && name.size() <= kLongestName && name[0] != '.' &&
                     name.find("..") == std::string::npos && std::ranges::none_of(name, [](char c) {
                       const auto byte = static_cast<unsigned char>(c);
                       return byte < 0x20 || byte == 0x7f || c == '/' || c == '\\';
                     });
  if (plain) return {};
  return fail(ErrorKind::kUsage,
              "must be the name of a file of up to {} bytes, without folders, \"..\" and a dot in "
              "front, like \"chat.bin\"",
              kLongestName);
}

Result<uint64_t> write_slot_file(const std::string& folder, const std::string& name,
                                 const std::string& owner, const engine::Session::Saved& saved) {
  return or_no_memory([&]() -> Result<uint64_t> {
    SLUICE_TRY(check_replaced(folder, name, owner));
    FileHeader header;
    header.checkpoints = static_cast<uint32_t>(saved.checkpoints.size());
    if (RAND_bytes(header.salt.data(), static_cast<int>(header.salt.size())) != 1)
      return fail(ErrorKind::kIo, "{}: the system has no random numbers", name);
    header.owner = hash_of_owner(owner, header.salt);
    header.tokens = saved.tokens.size();
    header.memory = saved.memory.bytes();
    Output output(folder, name);
    output.write(bytes_of(header));
    output.write(bytes_of(std::span<const text::Token>(saved.tokens)));
    output.write(saved.memory.data());
    for (const engine::Checkpoints::Entry& entry : saved.checkpoints) {
      CheckpointHeader before{entry.position, entry.turn ? 1u : 0u, entry.memory->bytes(),
                              entry.logits.size()};
      output.write(bytes_of(before));
      output.write(entry.memory->data());
      output.write(bytes_of(std::span<const float>(entry.logits)));
    }
    return output.end();
  });
}

Result<SlotFile> read_slot_file(const std::string& folder, const std::string& name,
                                const std::string& owner, const SlotLimits& limits) {
  return or_no_memory([&] { return read_all(folder, name, owner, limits); });
}

}  // namespace sluice::server
