# SPDX-License-Identifier: Apache-2.0
"""Writes GGUF v3 files. Needs nothing but Python."""

import struct

ALIGNMENT = 32
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


class U32(int):
    """An integer that is stored as u32; plain ints in arrays are stored as i32."""


def _string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(value):
    if isinstance(value, bool):
        return struct.pack("<IB", _BOOL, value)
    if isinstance(value, U32):
        return struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return struct.pack("<If", _F32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, list) and value and isinstance(value[0], str):
        return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(map(_string, value))
    if isinstance(value, list):
        return struct.pack(f"<IIQ{len(value)}i", _ARRAY, _I32, len(value), *value)
    raise TypeError(f"no GGUF type for {type(value).__name__}")


def write(path, metadata, tensors):
    """metadata: {key: bool, U32, float, str, list of str, list of int}; tensors: [(name, type id,
    shape with the row length first, bytes)]. Returns the file's size."""
    header = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        header.append(_string(key) + _value(value))
    offset = 0
    for name, kind, shape, data in tensors:
        header.append(_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind,
                                                  offset))
        offset += -(-len(data) // ALIGNMENT) * ALIGNMENT
    raw = b"".join(header)
    with open(path, "wb") as file:
        file.write(raw + b"\0" * (-len(raw) % ALIGNMENT))
        for _, _, _, data in tensors:
            file.write(data)
            file.write(b"\0" * (-len(data) % ALIGNMENT))
        return file.tell()
