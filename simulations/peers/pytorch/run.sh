#!/usr/bin/env bash
# Fovea's kernels and detector beside PyTorch and onnxruntime: the same networks, shapes and threads, in turns, in one go.
#
#   simulations/peers/pytorch/run.sh [--only TEXT] [--rounds N] [--cpu] [--quick]
#
# Needs Rust, a C compiler (for torch.compile) and Python 3 with venv; installs its own Python packages under target/. Prints
# `figure NAME VALUE UNIT` lines: both sides, and ratios above 1 where Fovea is faster (or, for rss, below 1 where it is smaller).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."

venv=${FOVEA_PEERS_VENV:-target/peers/pytorch}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
fi

executable() { # PACKAGE BENCH
    cargo bench --quiet --package "$1" --bench "$2" --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}
kernels=$(executable kernels train)
model=$(executable model step)
exec "$venv/bin/python" "$here/compare.py" --kernels "$kernels" --model "$model" "$@"
