#!/usr/bin/env bash
# One Kafka node for tests and the demo: Apache Kafka 4.3.1 from Maven, KRaft, loopback only.
#
#   scripts/kafka.sh start    fetches Kafka once, starts a fresh node, prints WEIR_KAFKA=127.0.0.1:PORT
#   scripts/kafka.sh start tls   the same with two listeners more, and prints
#                             WEIR_KAFKA_TLS=…   TLS that asks for a client certificate
#                             WEIR_KAFKA_SASL=…  TLS and a password: user device, SCRAM-SHA-512
#                             WEIR_KAFKA_CERTS=FOLDER   made by openssl for this node: ca.pem, device.pem and
#                             device.key; of another authority other-ca.pem, stranger.pem and stranger.key; password
#   scripts/kafka.sh env      prints the same line for the running node; exit 1 where none runs
#   scripts/kafka.sh stop     stops it and removes its data
#   scripts/kafka.sh crash    kills it; its data stays
#   scripts/kafka.sh again    starts it again on the same port and data
#
#   WEIR_CACHE        where the jars are kept      (default ~/.cache/weir)
#   WEIR_KAFKA_STATE  folder of the running node   (default /tmp/weir-kafka-USER)
set -euo pipefail

VERSION=4.3.1
CACHE="${WEIR_CACHE:-$HOME/.cache/weir}"
HOME_DIR="$CACHE/kafka-$VERSION"
STATE="${WEIR_KAFKA_STATE:-${TMPDIR:-/tmp}/weir-kafka-$(id -un)}"

say() { printf 'kafka.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# install COMMAND PACKAGE: from the distribution, where the command is missing.
install() {
  command -v "$1" >/dev/null && return 0
  command -v apt-get >/dev/null || die "$1 is missing and there is no apt-get; install it by hand"
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  say "$1 is missing: apt-get install $2"
  "${sudo[@]}" apt-get install -y -qq "$2" >/dev/null 2>&1 ||
    { "${sudo[@]}" apt-get update -qq >/dev/null && "${sudo[@]}" apt-get install -y -qq "$2" >/dev/null; } ||
    die "apt-get could not install $2"
}

fetch() {
  install java default-jre-headless
  [ -f "$HOME_DIR/complete" ] && return 0
  mkdir -p "$CACHE"
  exec 9>"$CACHE/kafka-$VERSION.lock"
  flock 9
  [ -f "$HOME_DIR/complete" ] && return 0
  install mvn maven
  say "fetching Kafka $VERSION (43 MB, once) into $HOME_DIR"
  local new="$CACHE/kafka-$VERSION.new.$$" try
  rm -rf "$new"
  mkdir -p "$new"
  cat >"$new/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>weir</groupId><artifactId>kafka-node</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
  for try in 1 2 3; do
    if (cd "$new" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib) >"$new/mvn.log" 2>&1; then
      touch "$new/complete"
      rm -rf "$HOME_DIR"
      mv "$new" "$HOME_DIR"
      flock -u 9
      return 0
    fi
    say "try $try of 3 failed: $(grep -m1 ERROR "$new/mvn.log" || tail -1 "$new/mvn.log")"
    sleep $((try * 2))
  done
  rm -rf "$new"
  die "Kafka $VERSION could not be fetched through Maven; check the network and ~/.m2/settings.xml"
}

open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port below the ephemeral range at which nobody listens now.
free_port() {
  local port
  for _ in $(seq 50); do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    open_port "$port" || { echo "$port"; return 0; }
  done
  die "no free port found between 20000 and 32000"
}

# certificates FOLDER: two authorities; the first signs the broker and the device, the other a stranger.
certificates() {
  install openssl openssl
  mkdir -p "$1"
  local issuer name
  for issuer in ca other-ca; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=weir $issuer" \
      -keyout "$1/$issuer.key" -out "$1/$issuer.pem"
  done
  printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\n' >"$1/names"
  while read -r issuer name; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
      -keyout "$1/$name.key" -out "$1/$name.csr"
    openssl x509 -req -in "$1/$name.csr" -CA "$1/$issuer.pem" -CAkey "$1/$issuer.key" -CAcreateserial -days 2 \
      -extfile "$1/names" -out "$1/$name.pem"
  done <<'SIGNED'
ca broker
ca device
other-ca stranger
SIGNED
  cat "$1/broker.key" "$1/broker.pem" >"$1/broker-all.pem"
  head -c 18 /dev/urandom | base64 | tr '+/' 'AB' >"$1/password"
  chmod 600 "$1"/*.key "$1/broker-all.pem" "$1/password"
}

# tls_properties CERTS: of the two listeners; keys and certificates as PEM.
tls_properties() {
  local name
  for name in tls sasl; do
    cat <<PROPERTIES
listener.name.$name.ssl.keystore.type=PEM
listener.name.$name.ssl.keystore.location=$1/broker-all.pem
PROPERTIES
  done
  cat <<PROPERTIES
listener.name.tls.ssl.client.auth=required
listener.name.tls.ssl.truststore.type=PEM
listener.name.tls.ssl.truststore.location=$1/ca.pem
listener.name.sasl.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
}

running() {
  [ -f "$STATE/pid" ] && [ -f "$STATE/env" ] && kill -0 "$(cat "$STATE/pid")" 2>/dev/null
}

# launch PORT: starts the node on its storage; 1 where it does not come up.
launch() {
  local pid
  nohup java -Xmx512m -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -cp "$HOME_DIR/lib/*" kafka.Kafka "$STATE/server.properties" >>"$STATE/kafka.log" 2>&1 9>&- </dev/null &
  pid=$!
  echo "$pid" >"$STATE/pid"
  for _ in $(seq 300); do
    if open_port "$1"; then return 0; fi
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.2
  done
  return 1
}

start() {
  if running; then cat "$STATE/env"; return 0; fi
  fetch
  local try port controller tls='' sasl='' certs="$STATE/certs" more='' map='' format=()
  for try in 1 2 3; do
    rm -rf "$STATE"
    mkdir -p "$STATE/data"
    port=$(free_port)
    controller=$(free_port)
    [ "$port" != "$controller" ] || continue
    if [ "${1:-}" = tls ]; then
      tls=$(free_port)
      sasl=$(free_port)
      [ "$(printf '%s\n' "$port" "$controller" "$tls" "$sasl" | sort -u | wc -l)" = 4 ] || continue
      certificates "$certs" >"$STATE/certificates.log" 2>&1 ||
        die "openssl could not make certificates: $(tail -3 "$STATE/certificates.log")"
      more=",TLS://127.0.0.1:$tls,SASL://127.0.0.1:$sasl"
      map=",TLS:SSL,SASL:SASL_SSL"
      format=(--add-scram "SCRAM-SHA-512=[name=device,password=$(cat "$certs/password")]")
    fi
    cat >"$STATE/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$more
advertised.listeners=PLAINTEXT://127.0.0.1:$port$more
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$map
inter.broker.listener.name=PLAINTEXT
log.dirs=$STATE/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
PROPERTIES
    [ -z "$tls" ] || tls_properties "$certs" >>"$STATE/server.properties"
    # A cluster id of 22 characters: 16 random bytes in url-safe base64.
    local id
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | cut -c1-22)
    java -Xmx128m -cp "$HOME_DIR/lib/*" kafka.tools.StorageTool format -t "$id" \
      -c "$STATE/server.properties" ${format[@]+"${format[@]}"} >"$STATE/format.log" 2>&1 ||
      die "the storage could not be formatted: $(tail -3 "$STATE/format.log")"
    if launch "$port"; then
      echo "WEIR_KAFKA=127.0.0.1:$port" >"$STATE/env"
      [ -z "$tls" ] || printf 'WEIR_KAFKA_TLS=127.0.0.1:%s\nWEIR_KAFKA_SASL=127.0.0.1:%s\nWEIR_KAFKA_CERTS=%s\n' \
        "$tls" "$sasl" "$certs" >>"$STATE/env"
      cat "$STATE/env"
      return 0
    fi
    say "try $try of 3: the node did not start: $(grep -m1 -i -E 'error|exception' "$STATE/kafka.log" || echo "see $STATE/kafka.log")"
    kill -9 "$(cat "$STATE/pid")" 2>/dev/null || true
  done
  die "Kafka could not be started; its log is $STATE/kafka.log"
}

crash() {
  local pid
  pid=$(cat "$STATE/pid")
  kill -9 "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}

again() {
  [ -f "$STATE/env" ] || die "there is no node; scripts/kafka.sh start"
  running || launch "$(sed -n 's/^WEIR_KAFKA=.*://p' "$STATE/env")" || die "the node did not start again: $(tail -3 "$STATE/kafka.log")"
}

stop() {
  if [ -f "$STATE/pid" ]; then
    local pid
    pid=$(cat "$STATE/pid")
    if kill -0 "$pid" 2>/dev/null; then
      kill -CONT "$pid" 2>/dev/null || true
      kill -TERM "$pid" 2>/dev/null || true
      for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
      done
      kill -9 "$pid" 2>/dev/null || true
    fi
  fi
  rm -rf "$STATE"
}

case "${1:-}" in
  start) start "${2:-}" ;;
  stop) stop ;;
  crash) crash ;;
  again) again ;;
  env) running || die "no node runs; scripts/kafka.sh start"; cat "$STATE/env" ;;
  *) die "usage: scripts/kafka.sh start [tls]|env|stop|crash|again" ;;
esac
