#!/usr/bin/env bash
# Checks docker-compose.yml and what it names: by docker where that is there, else by a YAML reader.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v docker >/dev/null && docker compose version >/dev/null 2>&1; then
  docker compose -f docker-compose.yml config -q
  echo "docker-compose.yml: docker compose reads it"
  exit 0
fi
if ! python3 -c 'import yaml' 2>/dev/null; then
  venv="${WEIR_CACHE:-$HOME/.cache/weir}/yaml"
  if [ ! -x "$venv/bin/python3" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q pyyaml
  fi
  PATH="$venv/bin:$PATH"
fi
python3 - <<'PY'
import glob, os, re, sys, yaml

with open("docker-compose.yml") as file:
    compose = yaml.safe_load(file)
services = compose["services"]
wrong = []
for name in ("broker", "database", "weir", "detect"):
    if name not in services:
        wrong.append(f"service {name} is missing")
for name, service in services.items():
    build = service.get("build")
    if not build and "image" not in service:
        wrong.append(f"{name}: neither image nor build")
    if build and not os.path.exists(os.path.join(build["context"], build["dockerfile"])):
        wrong.append(f"{name}: {build['dockerfile']} is not there")
    for other, how in service.get("depends_on", {}).items():
        if other not in services:
            wrong.append(f"{name} depends on {other}, which is not there")
        elif how["condition"] == "service_healthy" and "healthcheck" not in services[other]:
            wrong.append(f"{name} waits for {other}, which has no healthcheck")
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            wrong.append(f"{name}: port {port} is open to the network")
    for volume in service.get("volumes", []):
        source = str(volume).split(":")[0]
        if re.match(r"\.{0,2}/", source):
            if not os.path.exists(source):
                wrong.append(f"{name}: {source} is not there")
        elif source not in compose.get("volumes", {}):
            wrong.append(f"{name}: volume {source} is not declared")
read = set()
for path in glob.glob("rules/**/*.sql", recursive=True):
    if not path.endswith(".test.sql"):
        with open(path) as file:
            read |= set(re.findall(r"topic = '(\w+)'", file.read()))
made = set(re.search(r"for topic in ([\w ]+);", services["topics"]["command"][0]).group(1).split())
if read != made:
    wrong.append(f"topics of the rules {sorted(read)}, topics that are made {sorted(made)}")
if wrong:
    sys.exit("docker-compose.yml: " + "; ".join(wrong))
print(f"docker-compose.yml: {len(services)} services, whole")
PY
