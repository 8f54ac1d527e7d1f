#!/usr/bin/env bash
# Fetches the library of ONNX Runtime out of its Python wheel and prints its path: scripts/onnxruntime.sh
#
#   scripts/onnxruntime.sh           for this machine (x86_64 or aarch64, Linux)
#   scripts/onnxruntime.sh aarch64   for another one, such as a Raspberry Pi
#
# It goes to ~/.cache/weir/onnxruntime/<version>/ (WEIR_CACHE changes the first part; another machine's
# into a folder of that name). The library's sha256 is pinned here and checked each time; nothing is
# fetched where it is there already. Needs python3 with pip, nothing else of Python.
set -euo pipefail

VERSION=1.31.1
SHA256_x86_64=fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3
SHA256_aarch64=8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467
# Any Python's wheel holds the same library; this one is named so that the answer is always the same file.
PYTHON=3.12

CACHE="${WEIR_CACHE:-$HOME/.cache/weir}"
say() { printf 'onnxruntime.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

machine="${1:-$(uname -m)}"
case "$machine" in
  x86_64) wanted="$SHA256_x86_64" ;;
  aarch64 | arm64) machine=aarch64 wanted="$SHA256_aarch64" ;;
  *) die "no library for '$machine': x86_64 or aarch64" ;;
esac
folder="$CACHE/onnxruntime/$VERSION"
[ "$machine" = "$(uname -m)" ] || folder="$folder/$machine"
library="$folder/libonnxruntime.so.$VERSION"

whole() { [ -f "$library" ] && [ "$(sha256sum "$library" | cut -d' ' -f1)" = "$wanted" ]; }

if ! whole; then
  mkdir -p "$folder"
  work="$(mktemp -d "$folder/fetch.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  python3 -m pip --version >/dev/null 2>&1 || {
    python3 -c 'import ensurepip, venv' 2>/dev/null || die "python3 has no pip and no venv: scripts/setup.sh vision"
    python3 -m venv "$work/venv"
    PATH="$work/venv/bin:$PATH"
  }
  say "onnxruntime $VERSION for $machine into $folder"
  python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
    --platform "manylinux_2_28_$machine" --python-version "$PYTHON" --implementation cp \
    --dest "$work" "onnxruntime==$VERSION" || die "pip cannot fetch onnxruntime $VERSION"
  python3 - "$work" "$VERSION" <<'PYTHON'
import glob, sys, zipfile
work, version = sys.argv[1:]
(wheel,) = glob.glob(f"{work}/onnxruntime-{version}-*.whl")
name = f"libonnxruntime.so.{version}"
with zipfile.ZipFile(wheel) as files, open(f"{work}/{name}", "wb") as out:
    out.write(files.read(f"onnxruntime/capi/{name}"))
PYTHON
  found="$(sha256sum "$work/libonnxruntime.so.$VERSION" | cut -d' ' -f1)"
  [ "$found" = "$wanted" ] || die "the library's sha256 is $found, not $wanted"
  chmod 644 "$work/libonnxruntime.so.$VERSION"
  mv "$work/libonnxruntime.so.$VERSION" "$library"
fi
ln -sfn "libonnxruntime.so.$VERSION" "$folder/libonnxruntime.so"
printf '%s\n' "$folder/libonnxruntime.so"
