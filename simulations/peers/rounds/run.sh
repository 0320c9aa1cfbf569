#!/usr/bin/env bash
# One peer and Fovea in turns: rounds of federated averaging in which nobody trains. Started by run.sh of ../flower and ../nvflare.
#
#   --cells 2x1M,8x4M   clients x float32 parameters; else {2, 8, 32} x {1M, 4M, 16M}, which takes hours
#   --rounds N          rounds of a run, of which the first is dropped (5)
#   --repeats N         runs of each side (1)
#   --quick             2x1M, three rounds
#
# Needs Rust and Python 3.11 with venv; installs the peer's Python packages under target/. Server and clients get network
# namespaces of their own, joined by a pair of virtual interfaces that count the bytes between them; where a user may not make
# those (or there is no `ip`), both sides run on loopback and bytes are those of the parameters. Everything that is started ends
# with this script, however it ends. Prints `figure NAME VALUE UNIT` lines; see compare.py.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
peer=$1
shift

venv=${FOVEA_PEERS_VENV:-target/peers/$peer}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement "$here/../$peer/requirements.txt"
fi
bench=$(cargo bench --quiet --package coordinator --no-default-features --bench round --no-run --message-format json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)

folder=$(mktemp --directory)
apart=(unshare --map-root-user --net --pid --fork --kill-child --mount-proc)
compare=("$(realpath --no-symlinks "$venv")/bin/python" -B "$here/compare.py" --peer "$peer" --bench "$bench" --folder "$folder")
if "${apart[@]}" ip link add name one type veth peer name other 2>/dev/null; then
    # Death of `unshare` is death of all processes in its namespace.
    signal=KILL
    "${apart[@]}" "${compare[@]}" --apart "$@" &
else
    signal=TERM
    "${compare[@]}" "$@" &
fi
running=$!
trap '{ kill -$signal $running; wait $running; } 2>/dev/null || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
wait $running
