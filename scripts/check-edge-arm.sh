#!/usr/bin/env bash
# Type-checks weir-edge for the Raspberry Pi (aarch64-unknown-linux-gnu) on any machine.
#
# A check links nothing, so C is not compiled: the compiler that build scripts get makes empty objects, and
# only answers questions about headers, from the host's. What is checked is all Rust for the target: sizes and
# constants of the kernel's interfaces among it. A binary needs a real cross compiler: docs/EDGE.md.
set -euo pipefail
cd "$(dirname "$0")/.."
TARGET=aarch64-unknown-linux-gnu

not_checked() {
  echo "check-edge-arm: NOT CHECKED for $TARGET: $*"
  exit 0
}

command -v rustup >/dev/null || not_checked "there is no rustup, and the target's standard library comes through it"
rustup target list --installed | grep -qx "$TARGET" || rustup target add "$TARGET" ||
  not_checked "rustup cannot fetch the target's standard library"

tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
cat >"$tools/cc" <<'CC'
#!/usr/bin/env bash
# Preprocesses with the host's compiler; for all else makes the output that was asked for.
for word in "$@"; do
  case "$word" in
    # Only Microsoft's compiler knows this; crates ask to tell it from the others.
    '-?') exit 1 ;;
    -E|--version|-v|-dumpversion|-dumpmachine|-print-*) exec cc "$@" ;;
  esac
done
out=a.out
while [ $# -gt 0 ]; do
  case "$1" in
    -o) out="$2"; shift ;;
    -MF) : >"$2"; shift ;;
    -o?*) out="${1#-o}" ;;
  esac
  shift
done
: >"$out"
CC
cat >"$tools/ar" <<'AR'
#!/usr/bin/env bash
# An empty archive at the first name that ends as one.
for word in "$@"; do
  case "$word" in *.a) printf '!<arch>\n' >"$word"; exit 0 ;; esac
done
AR
cp "$tools/ar" "$tools/ranlib"
chmod +x "$tools"/*

export CC_aarch64_unknown_linux_gnu="$tools/cc" CXX_aarch64_unknown_linux_gnu="$tools/cc"
export AR_aarch64_unknown_linux_gnu="$tools/ar" RANLIB_aarch64_unknown_linux_gnu="$tools/ranlib"
# librdkafka's own configure script knows these names only; without them it builds itself for the host, in earnest.
export CC="$tools/cc" CXX="$tools/cc" AR="$tools/ar" RANLIB="$tools/ranlib"
export PKG_CONFIG_ALLOW_CROSS=1
cargo check --profile quick --target "$TARGET" -p weir-edge --lib --bins
echo "check-edge-arm: weir-edge type-checks for $TARGET"
