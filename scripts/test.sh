#!/usr/bin/env bash
# Installs what is missing, builds everything, and runs all tests. Arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh test
cmake --preset release >/dev/null
cmake --build --preset release
ctest --preset release -j "$(nproc)" "$@"
