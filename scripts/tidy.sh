#!/usr/bin/env bash
# clang-tidy over src/ (or the files given), two at a time.
set -euo pipefail
cd "$(dirname "$0")/.."

cmake --preset tidy -DCMAKE_CXX_CLANG_TIDY= >/dev/null
if [ $# -eq 0 ]; then
  mapfile -t files < <(git ls-files 'src/*.cpp' | grep -v '/kernels_')
else
  files=("$@")
fi
printf '%s\0' "${files[@]}" | xargs -0 -n 4 -P "$(nproc)" clang-tidy -p build/tidy --quiet 2>/dev/null
echo "clang-tidy: ${#files[@]} files clean"
