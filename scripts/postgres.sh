#!/usr/bin/env bash
# One PostgreSQL for tests: the distribution's package, loopback only, data in a temporary folder.
#
#   scripts/postgres.sh start   prints WEIR_POSTGRES=postgres://…
#   scripts/postgres.sh env     prints the same line for the running server
#   scripts/postgres.sh stop    stops it and removes its data
#
#   WEIR_POSTGRES_STATE  folder of the running server (default /tmp/weir-postgres-USER)
set -euo pipefail

STATE="${WEIR_POSTGRES_STATE:-${TMPDIR:-/tmp}/weir-postgres-$(id -un)}"

say() { printf 'postgres.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

bin_dir() {
  local dir
  dir=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  [ -n "$dir" ] && [ -x "$dir/initdb" ] && echo "$dir"
}

install() {
  bin_dir >/dev/null && return 0
  command -v apt-get >/dev/null || die "PostgreSQL is missing and there is no apt-get; install it by hand"
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  say "PostgreSQL is missing: apt-get install postgresql"
  "${sudo[@]}" apt-get install -y -qq postgresql >/dev/null 2>&1 ||
    { "${sudo[@]}" apt-get update -qq >/dev/null && "${sudo[@]}" apt-get install -y -qq postgresql >/dev/null; } ||
    die "apt-get could not install postgresql"
  bin_dir >/dev/null || die "no initdb under /usr/lib/postgresql after the installation"
}

# initdb and postgres refuse to run as root.
as_owner() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  for _ in $(seq 50); do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    open_port "$port" || { echo "$port"; return 0; }
  done
  die "no free port found between 20000 and 32000"
}

running() {
  [ -f "$STATE/env" ] && [ -f "$STATE/data/postmaster.pid" ] &&
    kill -0 "$(head -1 "$STATE/data/postmaster.pid")" 2>/dev/null
}

start() {
  if running; then cat "$STATE/env"; return 0; fi
  install
  local bin try port
  bin=$(bin_dir)
  for try in 1 2 3; do
    rm -rf "$STATE"
    mkdir -p "$STATE"
    [ "$(id -u)" != 0 ] || chown postgres "$STATE"
    as_owner "$bin/initdb" -D "$STATE/data" -U postgres -A trust -E UTF8 --locale=C --no-sync \
      >/dev/null 2>"$STATE.log" || die "initdb failed: $(tail -3 "$STATE.log")"
    rm -f "$STATE.log"
    port=$(free_port)
    if as_owner "$bin/pg_ctl" -D "$STATE/data" -l "$STATE/postgres.log" -w -t 60 \
      -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$STATE -c fsync=off" \
      start >/dev/null 2>&1; then
      echo "WEIR_POSTGRES=postgres://postgres@127.0.0.1:$port/postgres" >"$STATE/env"
      cat "$STATE/env"
      return 0
    fi
    say "try $try of 3: the server did not start: $(tail -1 "$STATE/postgres.log" 2>/dev/null)"
  done
  die "PostgreSQL could not be started"
}

stop() {
  if running; then
    as_owner "$(bin_dir)/pg_ctl" -D "$STATE/data" -m immediate -w stop >/dev/null || true
  fi
  rm -rf "$STATE"
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  env) running || die "no server runs; scripts/postgres.sh start"; cat "$STATE/env" ;;
  *) die "usage: scripts/postgres.sh start|stop|env" ;;
esac
