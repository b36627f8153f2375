// SPDX-License-Identifier: Apache-2.0
// What a slot holds, as a file: tokens, the model's memory of them and its checkpoints, in front of
// it whose it is, behind it a checksum.
//
// The file, little-endian: the header (80 bytes), the tokens (4 bytes each), a snapshot with keys
// and values (model/snapshot.h), the checkpoints one after the other (each with 32 bytes before it,
// a snapshot without keys and values, logits), and SHA-256 of all that. Of the API key the header
// has SHA-256 behind 16 random bytes.
#pragma once

#include <cstdint>
#include <string>

#include "engine/session.h"
#include "engine/session_memory.h"

namespace sluice::server {

// kUsage for what is no plain name of a file: separators, a dot in front, "..", control characters.
Status check_slot_name(const std::string& name);

// Replaces the file in one step and returns its bytes. kUsage where a file of that name is no saved
// slot, or another key's; kIo when it cannot be written.
Result<uint64_t> write_slot_file(const std::string& folder, const std::string& name,
                                 const std::string& owner, const engine::Session::Saved& saved);

// What a slot can take: a larger file is refused before there is memory for it.
struct SlotLimits {
  int64_t context = 0;
  engine::SessionMemory memory;
};

struct SlotFile {
  engine::Session::Saved saved;
  uint64_t bytes = 0;
};
// kNotFound where there is none of this key; kBadFile for what is no saved slot, of another
// version, cut or changed; kUsage and kTooLarge for what a slot cannot take. The newest checkpoints
// only, as many as fit.
Result<SlotFile> read_slot_file(const std::string& folder, const std::string& name,
                                const std::string& owner, const SlotLimits& limits);

}  // namespace sluice::server
