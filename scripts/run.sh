#!/usr/bin/env bash
# Installs what is missing, builds, and runs: without arguments a question to the embedded model, with
# arguments `sluice ARGUMENTS`.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install.sh build
[ -f build/app/build.ninja ] ||
  cmake -S . -B build/app -G Ninja -DCMAKE_BUILD_TYPE=Release -DSLUICE_TESTS=OFF >/dev/null
cmake --build build/app

if [ $# -gt 0 ]; then
  exec build/app/bin/sluice "$@"
fi
model=models/sluice-tiny.gguf
ask() {
  printf '\n> %s\n' "$1"
  build/app/bin/sluice run -m "$model" -p "$1"
}
ask "Who are you?"
ask "What is 347 + 285?"
ask "Sort these words: river, apple, stone, cloud"
ask "你是谁？"
printf '\nTo chat with it: build/app/bin/sluice run -m %s\n' "$model"
