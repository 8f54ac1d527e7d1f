#!/usr/bin/env bash
# Runs a command with a Kafka node and a PostgreSQL: scripts/with-services.sh cargo test -p weir-connectors
#
# Uses those that WEIR_KAFKA and WEIR_POSTGRES name; starts fresh ones for the rest and stops them
# afterwards, whatever the command does. WEIR_KAFKA_PID names the node's process where it was started
# here (the tests stop and continue it); it is not set for a node that somebody else runs.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: scripts/with-services.sh COMMAND …" >&2; exit 1; }

here="$(cd "$(dirname "$0")" && pwd)"
state="$(mktemp -d "${TMPDIR:-/tmp}/weir-services.XXXXXX")"
chmod 755 "$state"
export WEIR_KAFKA_STATE="$state/kafka" WEIR_POSTGRES_STATE="$state/postgres"

finish() {
  "$here/kafka.sh" stop || true
  "$here/postgres.sh" stop || true
  rm -rf "$state"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "${WEIR_KAFKA:-}" ]; then
  line="$("$here/kafka.sh" start)"
  export "${line?}"
  WEIR_KAFKA_PID="$(cat "$WEIR_KAFKA_STATE/pid")"
  export WEIR_KAFKA_PID
fi
if [ -z "${WEIR_POSTGRES:-}" ]; then
  line="$("$here/postgres.sh" start)"
  export "${line?}"
fi
"$@"
