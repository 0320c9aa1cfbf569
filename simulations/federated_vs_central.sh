#!/usr/bin/env bash
# What a federation reaches of the same training done in one place, on any Pascal VOC folder with the splits trainval and test:
#
#   simulations/federated_vs_central.sh FOLDER OUT [CLIENTS] [ROUNDS] [SEED]
#
# Divides `trainval` between CLIENTS (4) by Dirichlet(0.5) over the set of classes in an image, trains ROUNDS (20) rounds of 4
# passes with the coordinator's defaults from random weights, then the same with dense updates and exact versions, then one
# device with all images for as many passes. Prints AP50 on `test` per round and class, and `figure` lines, and draws AP50 by
# bytes moved into OUT/curve.svg. Same cores and trainer as the binaries.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
folder=$(realpath "$1") out=$2 clients=${3:-4} rounds=${4:-20} seed=${5:-11}
mkdir -p "$out"

scenario() { # NAME DEVICES SCHEME UPLINK DOWNLINK
    cat >"$out/$1.toml" <<TOML
title = "$1"
[run]
rounds = $rounds
min_clients = $2
central_score = true
seed = $seed
[run.uplink]
$4
[run.downlink]
$5
[devices]
count = $2
[data]
source = "folder"
folder = "$folder"
split = "trainval"
score_split = "test"
held_out = 0.0
partition = { $3 }
TOML
}
scenario federated "$clients" 'scheme = "dirichlet", alpha = 0.5' '' ''
scenario dense "$clients" 'scheme = "dirichlet", alpha = 0.5' 'codec = "dense"' 'density = 0.0'
scenario central 1 'scheme = "iid"' 'codec = "dense"' 'density = 0.0'

cargo build --release --quiet -p simulations
simulations=${CARGO_TARGET_DIR:-target}/release/simulations
for name in federated dense central; do
    started=$SECONDS
    "$simulations" run "$out/$name.toml" --out "$out/$name" >"$out/$name.log"
    echo "figure compare/$name/seconds $((SECONDS - started)) s"
done
"$simulations" compare "$out/federated/report.json" "$out/central/report.json" | sed 's/\bone\b/federated/g; s/\bother\b/central/g'
"$simulations" curve "dense=$out/dense/report.json" "default=$out/federated/report.json" --out "$out/curve.svg"
