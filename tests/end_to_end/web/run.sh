#!/usr/bin/env bash
# Tests the page in Chromium. Exit status 77: skipped, since something that they need is not here.
set -euo pipefail
cd "$(dirname "$0")"

skip() { echo "skipped: $1"; exit 77; }
command -v node >/dev/null || skip "Node.js is not installed"
found=
for path in "${CHROMIUM:-}" /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome; do
  [ -n "$path" ] && [ -x "$path" ] && found=$path && break
done
[ -n "$found" ] || skip "Chromium is not installed (package chromium)"
if [ ! -d node_modules/playwright-core ]; then
  command -v npm >/dev/null || skip "npm is not installed"
  npm ci --no-audit --no-fund --silent || skip "npm ci failed: is the registry reachable?"
fi
CHROMIUM=$found exec node --test --test-concurrency=1 --test-timeout=400000 --test-reporter=spec ./*.test.mjs
