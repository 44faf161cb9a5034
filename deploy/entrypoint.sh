#!/bin/sh
# What a container of the image does:
#   serve        the API, which starts the jobs
#   ray-head     head of a Ray cluster; runs no engines
#   ray-worker   node of the cluster at ESSA_RAY_ADDRESS, with this machine's cores and GPUs
#   healthy X    exits 0 while `serve` or `ray` works
# More arguments go to the program behind the role; another command is run as it is.
set -eu

serve_is_healthy() {
  exec python - <<'PYTHON'
import os
from urllib.request import urlopen

urlopen(f"http://127.0.0.1:{os.environ.get('ESSA_PORT') or 8400}/healthz", timeout=10)
PYTHON
}

role="${1:-serve}"
[ "$#" -eq 0 ] || shift
case "$role" in
  serve)
    exec essa serve "$@" ;;
  ray-head)
    exec ray start --head --port=6379 --num-cpus=0 --num-gpus=0 --include-dashboard=false \
      --disable-usage-stats --block "$@" ;;
  ray-worker)
    : "${ESSA_RAY_ADDRESS:?say where the head of the cluster is, such as ray-head:6379}"
    exec ray start "--address=$ESSA_RAY_ADDRESS" --block "$@" ;;
  healthy)
    case "${1:-}" in
      serve) serve_is_healthy ;;
      # RAY_ADDRESS is KubeRay's. A worker ends when it loses the head, so one question is enough.
      ray) exec ray health-check \
        --address "${ESSA_RAY_ADDRESS:-${RAY_ADDRESS:-127.0.0.1:6379}}" ;;
      *) echo "healthy is '${1:-}'; say serve or ray" >&2; exit 2 ;;
    esac ;;
  *)
    exec "$role" "$@" ;;
esac
