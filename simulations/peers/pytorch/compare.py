"""Runs ours and theirs in turns, one process per measurement, and prints figures and ratios.

A process measures one thing, prints `figure NAME VALUE UNIT` lines and says how much memory it took at most. Every
measurement is repeated in rounds (ours, theirs, ours, ...); of each side the best round counts, and of theirs the better
of the two memory layouts. `# busy` lines say how much of the machine others took meanwhile: above a few per cent the
figures of two threads mean nothing, and --cpu is there for that.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

PEER = [sys.executable, str(Path(__file__).with_name("peer.py"))]
SHAPES = ["w1.0@96b8", "w1.0@224b8", "w0.5@256b8", "w0.35@96b16", "w1.0@224b1"]
DETECTORS = {"nano96": 16, "small256": 8, "medium320": 8}
LAYOUTS = ["channels_last", "nchw"]


def processor():
    """Seconds of processor time others took so far, and seconds there were on all cores."""
    tick, own = os.sysconf("SC_CLK_TCK"), os.times()
    times = [int(text) / tick for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = times[3] + times[4]
    return sum(times) - idle - sum(own[:4]), sum(times)


def figures(command, **variables):
    """What a process prints, {name: value}; nothing if it fails."""
    before = processor()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)
    others, total = (after - start for start, after in zip(before, processor()))
    if others > 0.04 * total:
        print(f"# busy: others took {100 * others / max(total, 1e-9):.0f} % of the machine", flush=True)
    if done.returncode != 0:
        print(f"# failed: {' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return {}
    lines = (line.split() for line in done.stdout.splitlines() if line.startswith("figure "))
    return {line[1]: float(line[2]) for line in lines}


def figure(name, value, unit):
    print(f"figure {name} {value:.2f} {unit}", flush=True)


def compare(title, found, peers, unit="img/s"):
    """Prints all sides of one measurement and the ratios to the best of each group of peers: {ratio: names}."""
    for name, (speed, memory) in found.items():
        figure(f"{title}/{name}", speed, unit)
        if memory < float("inf"):
            figure(f"rss/{title}/{name}", memory, "MiB")
    if "ours" not in found:
        return
    speed, memory = found["ours"]
    for ratio, names in peers.items():
        there = [found[name] for name in names if name in found]
        if there:
            fastest, theirs = max(there)
            figure(f"{title}/ours_over_{ratio}", speed / fastest, "x")
            if ratio == "torch" and max(memory, theirs) < float("inf"):
                figure(f"rss/{title}/ours_over_{ratio}", memory / theirs, "x")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernels", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--only", default="", help="measurements whose name contains this")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread, for a busy machine")
    parser.add_argument("--quick", action="store_true", help="one round, the smallest shape and detector")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    clock = ["--cpu"] if options.cpu else []
    shapes = SHAPES[3:4] if options.quick else SHAPES
    detectors = {"nano96": 16} if options.quick else DETECTORS

    def measure(title, commands, peers, ours, unit="img/s"):
        """Their processes name their figures speed and rss."""
        if options.only not in title:
            return
        found = {}
        for _ in range(rounds):
            for name, command in commands.items():
                speed, memory = ours if name == "ours" else ("speed", "rss")
                read = figures((command if name == "ours" else PEER + command) + clock)
                if speed in read:
                    old = found.get(name, (0.0, float("inf")))
                    found[name] = (max(old[0], read[speed]), min(old[1], read.get(memory, float("inf"))))
        compare(title, found, peers, unit)

    def forced(shape):
        """Training with an instruction set the processor's best is not, beside the best one and PyTorch with its own choice."""
        if options.only not in f"forced/{shape}":
            return
        found = {}
        for _ in range(rounds):
            for name in ["avx512", "avx2", "portable"]:
                command = [options.kernels, "--only", shape, "--kind", "train", *clock]
                read = figures(command, FOVEA_SIMD=name).get(f"kernels/train/{shape}", 0.0)
                found[name] = max(found.get(name, 0.0), read)
            for layout in LAYOUTS:
                read = figures([*PEER, "train", shape, layout, *clock]).get("speed", 0.0)
                found["torch"] = max(found.get("torch", 0.0), read)
        if min(found.values()) > 0.0:
            figure(f"forced/{shape}/avx2_over_torch", found["avx2"] / found["torch"], "x")
            figure(f"forced/{shape}/portable_over_avx512", found["portable"] / found["avx512"], "x")

    for shape in shapes:
        for kind in ["train", "train_frozen"]:
            commands = {"ours": [options.kernels, "--only", shape, "--kind", kind]}
            commands |= {f"torch_{layout}": [kind, shape, layout] for layout in LAYOUTS}
            if not options.quick and not options.cpu:
                commands["torch_compile"] = [kind, shape, "compile"]
            peers = {"torch": [f"torch_{layout}" for layout in LAYOUTS], "torch_compile": ["torch_compile"]}
            measure(f"{kind}/{shape}", commands, peers, (f"kernels/{kind}/{shape}", f"kernels/rss/{kind}/{shape}"))
        commands = {
            "ours": [options.kernels, "--only", shape, "--kind", "infer"],
            "onnxruntime": ["infer", shape, "onnxruntime"],
            "torchjit": ["infer", shape, "jit"],
        }
        peers = {"onnxruntime": ["onnxruntime"], "torchjit": ["torchjit"]}
        measure(f"infer/{shape}", commands, peers, (f"kernels/infer/{shape}", f"kernels/rss/infer/{shape}"))
        forced(shape)
    for preset, batch in detectors.items():
        commands = {"ours": [options.model, f"{preset}b{batch}"]}
        commands |= {f"torch_{layout}": ["detector", f"{preset}b{batch}", layout] for layout in LAYOUTS}
        peers = {"torch": [f"torch_{layout}" for layout in LAYOUTS]}
        ours = (f"step/{preset}b{batch}/all_speed", f"step/{preset}b{batch}/rss")
        measure(f"detector/{preset}", commands, peers, ours)


if __name__ == "__main__":
    main()
