#!/bin/sh
# The packages that the programs and libraries of an installation are linked with, one a line: for an image that does not build.
# Usage: runtime_packages.sh PREFIX
set -eu
# Not the system's part of the driver of a GPU, which the host brings.
find "$1/bin" "$1/lib" -type f \( -name 'sluice*' -o -name 'libsluice*.so*' \) ! -name '*.cmake' ! -name '*.pc' -exec ldd {} + |
  awk '$2 == "=>" && $3 ~ /^\// && $1 !~ /^libsluice/ { print $3 }' | sort -u |
  while read -r library; do
    # Where /lib is a link to /usr/lib, the package may say either.
    file=$(readlink -f "$library")
    dpkg-query -S "$file" 2>/dev/null || dpkg-query -S "${file#/usr}"
  done | sed 's/:.*//' | sort -u
