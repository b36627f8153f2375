#!/usr/bin/env bash
# Executes the steps of docker/Dockerfile.cpu in two bare Debian roots, as a container engine would, and uses the result. For machines
# without an engine; needs root, debootstrap and some minutes of compiling.
# Usage: scripts/prove_container.sh [FOLDER]; what is in the FOLDER already is used again (the base system).
set -euo pipefail
cd "$(dirname "$0")/.."

dockerfile=docker/Dockerfile.cpu
folder=$(realpath -m "${1:-build/container}")
[ "$(id -u)" -eq 0 ] || { echo "run as root: the steps need chroot" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "install debootstrap" >&2; exit 1; }
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
mkdir -p "$folder"

if [ ! -d "$folder/base/usr" ]; then
  echo "=== base system"
  debootstrap --variant=minbase bookworm "$folder/base.new" "${mirror%/}" >"$folder/debootstrap.log" ||
    { tail "$folder/debootstrap.log"; exit 1; }
  # Packages come from where this machine gets them.
  rm -rf "$folder/base.new"/etc/apt/sources.list*
  cp -a /etc/apt/sources.list* /etc/apt/apt.conf.d /etc/apt/trusted.gpg.d "$folder/base.new/etc/apt/"
  cp -aL /usr/share/keyrings "$folder/base.new/usr/share/"
  [ ! -d /etc/ssl/certs ] || { mkdir -p "$folder/base.new/etc/ssl"; cp -aL /etc/ssl/certs "$folder/base.new/etc/ssl/"; }
  cp -L /etc/resolv.conf "$folder/base.new/etc/"
  mv "$folder/base.new" "$folder/base"
fi

declare -A roots=() env=()
root= ; user=root; workdir=/; stage=0; entrypoint=; health=
mounted=()
finish() { for ((i = ${#mounted[@]} - 1; i >= 0; --i)); do umount -l "${mounted[i]}" || true; done; }
trap finish EXIT

in_root() {  # as the image's user, in its folder, with its variables
  local settings=()
  for name in "${!env[@]}"; do settings+=("$name=${env[$name]}"); done
  chroot --userspec="$user" "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/ \
    "${settings[@]}" sh -c "cd $workdir && $1"
}

begin_stage() {
  root=$folder/stage$stage
  rm -rf "$root"
  cp -a "$folder/base" "$root"
  for place in proc dev; do
    mount --rbind "/$place" "$root/$place"
    mount --make-rslave "$root/$place"
    mounted+=("$root/$place")
  done
  user=root; workdir=/; env=()
  stage=$((stage + 1))
}

copy() {  # COPY [--from=STAGE] FROM TO
  local from=$2 to=$3
  if [[ $1 == --from=* ]]; then
    from=${roots[${1#--from=}]}$from
    if [ -d "$from" ]; then mkdir -p "$root$to"; cp -a "$from/." "$root$to/"; else cp -a "$from" "$root$to"; fi
  else
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -a -t "$root$workdir"
  fi
}

while read -r step rest; do
  case $step in
    '' | '#'*) continue ;;
  esac
  echo "=== $step $rest"
  case $step in
    FROM)
      begin_stage
      case $rest in *' AS '*) roots[${rest##* AS }]=$root ;; esac ;;
    WORKDIR) workdir=$rest; mkdir -p "$root$workdir" ;;
    USER) user=$rest ;;
    COPY) if [[ $rest == --from=* ]]; then copy $rest; else copy "" $rest; fi ;;
    ENV) for pair in $rest; do env[${pair%%=*}]=${pair#*=}; done ;;
    RUN) in_root "$rest" </dev/null ;;
    HEALTHCHECK) health=${rest#*CMD } ;;
    ENTRYPOINT) entrypoint=$(sed 's/[][",]//g' <<<"$rest") ;;
    VOLUME | EXPOSE | CMD) ;;
    *) echo "$dockerfile: $step is not known here" >&2; exit 1 ;;
  esac
done <"$dockerfile"

echo "=== use"
cp models/sluice-tiny.gguf "$root/models/model.gguf"
chmod 644 "$root/models/model.gguf"
in_root "id -un | grep -qx sluice"
in_root "$entrypoint --run -m /models/model.gguf -p 'What is 347 + 285?' --temp 0" | tee /dev/stderr | grep -q 632
in_root "$entrypoint --bench -m /models/model.gguf -p 16 -n 4 -r 1" | tee /dev/stderr | grep -q tg4
if in_root "$entrypoint help" | grep -q '^  serve'; then
  in_root "exec $entrypoint --server --model /models/model.gguf --host 0.0.0.0 --port 8080" &
  server=$!
  for ((i = 0; i < 60; ++i)); do in_root "$health" >/dev/null 2>&1 && break; sleep 1; done
  in_root "$health"
  kill "$server"
  wait "$server" || true
fi
echo "the container's steps hold; size: $(du -sh --exclude=proc --exclude=dev "$root" | cut -f1)"
