#!/usr/bin/env bash
# Builds the page into web/dist/index.html, which is committed: a build of the program needs no npm. Needs Node.js 20 and npm.
# SLUICE_WEB_OUT: another folder for the result.
set -euo pipefail
cd "$(dirname "$0")"

npm ci --no-audit --no-fund --silent
npx tsc --noEmit
npx vite build --logLevel warn
echo "$(gzip -9c "${SLUICE_WEB_OUT:-dist}/index.html" | wc -c) bytes compressed"
