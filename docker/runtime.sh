#!/bin/sh
# What an image needs at run time, on Debian and Ubuntu: the packages that the file names, certificates, curl for the health check, and a user
# who is not root.
# Usage: runtime.sh PACKAGES_FILE
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2046
apt-get install -y -qq --no-install-recommends ca-certificates curl $(cat "$1")
rm -rf /var/lib/apt/lists/*
groupadd --gid 10001 sluice
useradd --uid 10001 --gid sluice --create-home sluice
mkdir -p /models
chown sluice:sluice /models
ldconfig
