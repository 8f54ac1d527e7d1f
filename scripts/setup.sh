#!/usr/bin/env bash
# Installs what weir needs and the machine lacks. Says what it does; does nothing where all is there.
#
#   scripts/setup.sh             everything
#   scripts/setup.sh build       linker, pkg-config, headers of OpenSSL and zlib
#   scripts/setup.sh services    Java, Maven and openssl (Kafka for the tests), PostgreSQL
#   scripts/setup.sh vision      the library of ONNX Runtime under ~/.cache/weir (scripts/onnxruntime.sh)
#   scripts/setup.sh sql         sqlfluff 4.5.0 in a virtual environment under ~/.cache/weir
#   scripts/setup.sh model       PyTorch for the CPU, ONNX and its runtime, to train the detector (not part of everything)
#
# Rust itself comes from https://rustup.rs; the edition needs 1.94 or newer.
set -euo pipefail

SQLFLUFF=4.5.0
ONNXRUNTIME=1.20.1
CACHE="${WEIR_CACHE:-$HOME/.cache/weir}"

say() { printf 'setup.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
updated=no

# apt PACKAGE…: installs them from the distribution; refreshes its lists once, where that is needed.
apt() {
  command -v apt-get >/dev/null || die "missing: $*. There is no apt-get here; install it by hand"
  say "apt-get install $*"
  if [ "$updated" = no ] && ! "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1; then
    "${sudo[@]}" apt-get update -qq >/dev/null || die "apt-get update failed"
    updated=yes
    "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null || die "cannot install $*"
  elif [ "$updated" = yes ]; then
    "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null || die "cannot install $*"
  fi
}

build() {
  local missing=()
  command -v cargo >/dev/null || die "cargo is missing: see https://rustup.rs"
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  command -v make >/dev/null || missing+=(make)
  command -v mold >/dev/null || missing+=(mold)
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  { command -v pkg-config >/dev/null && pkg-config --exists openssl; } || missing+=(libssl-dev)
  [ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev)
  [ ${#missing[@]} = 0 ] || apt "${missing[@]}"
}

services() {
  local missing=()
  command -v java >/dev/null || missing+=(default-jre-headless)
  command -v mvn >/dev/null || missing+=(maven)
  command -v openssl >/dev/null || missing+=(openssl)
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  [ ${#missing[@]} = 0 ] || apt "${missing[@]}"
}

vision() {
  command -v python3 >/dev/null || apt python3
  python3 -m pip --version >/dev/null 2>&1 || python3 -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv
  "$(dirname "$0")/onnxruntime.sh" >/dev/null
}

sql() {
  local venv="$CACHE/sqlfluff"
  if command -v sqlfluff >/dev/null && [ "$(sqlfluff --version 2>/dev/null)" = "sqlfluff, version $SQLFLUFF" ]; then
    return 0
  fi
  if [ -x "$venv/bin/sqlfluff" ] && [ "$("$venv/bin/sqlfluff" --version)" = "sqlfluff, version $SQLFLUFF" ]; then
    return 0
  fi
  command -v python3 >/dev/null || apt python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt python3-venv
  say "sqlfluff $SQLFLUFF into $venv"
  mkdir -p "$CACHE"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q "sqlfluff==$SQLFLUFF"
}

# PyTorch is the distribution's, because the package index's brings 5 GB of CUDA; numpy must be the one it was built for.
model() {
  local venv="$CACHE/model"
  local imports='import torch, onnx, onnxruntime, numpy, PIL'
  if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "$imports" 2>/dev/null; then
    return 0
  fi
  /usr/bin/python3 -c 'import torch, onnx, numpy, PIL, ensurepip, venv' 2>/dev/null \
    || apt python3-torch python3-onnx python3-numpy python3-pil python3-venv
  say "onnxruntime $ONNXRUNTIME into $venv"
  mkdir -p "$CACHE"
  /usr/bin/python3 -m venv --system-site-packages "$venv"
  "$venv/bin/pip" install -q "onnxruntime==$ONNXRUNTIME" 'numpy<1.25'
}

case "$#" in
  0) set -- build services vision sql ;;
esac
for part in "$@"; do
  case "$part" in
    build | services | vision | sql | model) "$part" ;;
    *) die "unknown part '$part': build, services, vision, sql or model" ;;
  esac
done
