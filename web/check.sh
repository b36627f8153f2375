#!/usr/bin/env bash
# Proves that the committed page is what the source gives, small enough, and asks nothing of other hosts.
# Exit status 77: skipped, since npm is not here.
set -euo pipefail
cd "$(dirname "$0")"

limit=$((300 * 1024))  # bytes, compressed
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
SLUICE_WEB_OUT=$fresh ./build.sh

[ "$(ls dist)" = index.html ] || { echo "web/dist: holds more than index.html: run web/build.sh"; exit 1; }
cmp "$fresh/index.html" dist/index.html || { echo "web/dist/index.html: is not what the source gives: run web/build.sh and commit it"; exit 1; }
size=$(gzip -9c dist/index.html | wc -c)
[ "$size" -le "$limit" ] || { echo "web/dist/index.html: $size bytes compressed, allowed are $limit"; exit 1; }
policy=$(grep -o 'Content-Security-Policy" content="[^"]*' dist/index.html || true)
case $policy in
  '' | *unsafe-* | *http:* | *https:*) echo "web/dist/index.html: no policy, or a lax one: $policy"; exit 1 ;;
esac
if grep -nE '"(resolved|registry)"' package-lock.json ../tests/end_to_end/web/package-lock.json; then
  echo "package-lock.json: holds addresses of a registry: npm config set omit-lockfile-registry-resolved true, then npm install"
  exit 1
fi
echo "web/dist/index.html: up to date, $size bytes compressed"
