// SPDX-License-Identifier: Apache-2.0
#include "model/snapshot.h"

#include <cstring>
#include <type_traits>

namespace sluice::model {

static_assert(std::is_trivially_copyable_v<SnapshotHeader> && sizeof(SnapshotHeader) == 104,
              "the header is written as it lies in memory");

Result<Snapshot> Snapshot::create(const SnapshotHeader& header, uint64_t payload_bytes) {
  Snapshot snapshot;
  snapshot.header_ = header;
  snapshot.memory_ = AlignedBuffer::allocate(sizeof(header) + payload_bytes);
  if (!snapshot.memory_)
    return fail(ErrorKind::kTooLarge,
                "no memory left for a snapshot of {} bytes: keep fewer snapshots", payload_bytes);
  std::memcpy(snapshot.memory_.data(), &header, sizeof(header));
  return snapshot;
}

Result<Snapshot> Snapshot::parse(std::span<const uint8_t> bytes) {
  SnapshotHeader header;
  if (bytes.size() < sizeof(header))
    return fail(ErrorKind::kBadFile, "not a snapshot: {} bytes, at least {} expected", bytes.size(),
                sizeof(header));
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != SnapshotHeader::kMagic)
    return fail(ErrorKind::kBadFile, "not a snapshot: it does not begin with its mark");
  if (header.version != SnapshotHeader::kVersion)
    return fail(ErrorKind::kBadFile,
                "snapshot of version {}, this program reads version {}: read the text again",
                header.version, SnapshotHeader::kVersion);
  SLUICE_ASSIGN(Snapshot snapshot, create(header, bytes.size() - sizeof(header)));
  std::memcpy(snapshot.memory_.data(), bytes.data(), bytes.size());
  return snapshot;
}

}  // namespace sluice::model
