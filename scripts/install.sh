#!/usr/bin/env bash
# Installs what a build needs with the distribution's package manager (Debian, Ubuntu).
# Usage: scripts/install.sh [build|test|ci]; each level includes the one before it.
set -euo pipefail

level=${1:-build}
packages=(g++ cmake ninja-build pkg-config libfmt-dev libspdlog-dev nlohmann-json3-dev libpcre2-dev
          libutf8proc-dev libedit-dev libexpected-dev libhwloc-dev liburing-dev libxxhash-dev
          libboost-dev libssl-dev libcurl4-openssl-dev ca-certificates)
case $level in
  build) ;;
  test) packages+=(libgtest-dev libgmock-dev python3 openssl) ;;
  ci) packages+=(libgtest-dev libgmock-dev python3 openssl git clang clang-format clang-tidy libclang-rt-dev ccache
               g++-aarch64-linux-gnu libc6-dev-arm64-cross libstdc++6-arm64-cross qemu-user googletest chromium fonts-noto-cjk) ;;
  *) echo "usage: $0 [build|test|ci]" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install as root: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
