#!/usr/bin/env bash
# Cross-compiles the kernels for 64-bit ARM and runs their conformance tests in qemu's user mode.
# Needs g++-aarch64-linux-gnu, qemu-user and googletest (Debian's names). Arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt install g++-aarch64-linux-gnu qemu-user googletest" >&2; exit 1; }
done
cmake -S tests/conformance/aarch64 -B build/aarch64 -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64.cmake" >/dev/null
cmake --build build/aarch64
ctest --test-dir build/aarch64 --output-on-failure "$@"
