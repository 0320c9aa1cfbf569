"""Ours and a peer in turns, cell by cell: N clients and P float32 parameters, no training. Prints figures and ratios.

Of each side, per cell (medians over rounds, then over repeats): seconds per round, processor seconds of the server side per round,
its peak memory (the sum over its processes), and megabytes up and down per client and round as they cross between server and
clients. Ours first with `dense` updates, which is the fair row: every value goes up as float32, as theirs do; down come versions as
we always send them, integers and entropy-coded, which is less than float32. Then with our default codec. A ratio is theirs over
ours with dense updates: `figure peers/flower/8×4M/round_ratio 12.3 x`.
"""

import argparse
import importlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from world import Failed, World

CELLS = [f"{clients}x{values}M" for values in (1, 4, 16) for clients in (2, 8, 32)]
OURS = {"ours_dense": "dense", "ours_default": "sparse"}


@dataclass
class Case:
    """N clients, P parameters, so many rounds."""

    clients: int
    values: int
    rounds: int

    def __str__(self):
        unit, name = next(((unit, name) for unit, name in [(10**6, "M"), (10**3, "k")] if self.values % unit == 0), (1, ""))
        return f"{self.clients}×{self.values // unit}{name}"

    @property
    def patience(self):
        """Seconds after which a run has failed."""
        return 300 + self.rounds * (60 + self.clients * (15 + self.values / 4e5))

    @property
    def memory(self):
        """Bytes that all of a peer's processes need together, about."""
        return self.clients * (400e6 + 40 * self.values)


@dataclass
class Measured:
    """Rounds in seconds; the rest per round, bytes per client and round, or None where they could not be counted."""

    rounds: list
    peak: float
    cpu: float
    up: float | None
    down: float | None


def parse_cell(text, rounds):
    clients, values = text.lower().replace("×", "x").split("x")
    unit = {"m": 10**6, "k": 10**3}.get(values[-1], 1)
    return Case(int(clients), int(values.rstrip("mk")) * unit, rounds)


def theirs(peer, case, folder, world):
    times, probe = peer.run(case, folder, world)
    rounds = [end - start for start, end in zip(times, times[1:])][1:]
    cpu, up, down = probe.between(times[1], times[-1])
    share = len(rounds) * case.clients
    up, down = (up / share / 1e6, down / share / 1e6) if world.apart else (None, None)
    return Measured(rounds, probe.peak(), cpu / len(rounds), up, down)


def ours(bench, codec, case, world):
    """The bench drops the first round too."""
    task = f"{case.clients},{case.rounds},{case.values},{codec}"
    command = [*world.clients, bench, "only", f"{task},{world.address}", *world.server]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stderr)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("figure only/")]
    read = {line[1].removeprefix("only/"): float(line[2]) for line in lines}
    rounds = [float(line[2]) / 1e3 for line in lines if line[1] == "only/each"]
    up, down = (read["up"], read["down"]) if world.apart else (None, None)
    return Measured(rounds, read["peak"], read["cpu"] / 1e3, up, down)


def figure(name, value, unit):
    digits = 1 if abs(value) >= 100 else 4 if abs(value) < 1 else 2
    print(f"figure {name} {value:.{digits}f} {unit}", flush=True)


def report(title, side, runs, case):
    """Prints one side of a cell; its medians by name."""
    rounds = [second for run in runs for second in run.rounds]
    found = {"round": statistics.median(statistics.median(run.rounds) for run in runs)}
    for name in ["peak", "cpu", "up", "down"]:
        each = [getattr(run, name) for run in runs]
        if name in ["up", "down"] and None in each:
            each = [4e-6 * case.values]
            if side == "ours_default":
                continue
        found[name] = statistics.median(each)
    for name, unit in [("round", "s"), ("peak", "MB"), ("cpu", "s"), ("up", "MB"), ("down", "MB")]:
        if name in found:
            figure(f"{title}/{side}/{name}", found[name], unit)
    figure(f"{title}/{side}/round_least", min(rounds), "s")
    figure(f"{title}/{side}/round_most", max(rounds), "s")
    print(f"# {title}/{side}: {len(runs)} runs, {len(rounds)} rounds", flush=True)
    return found


def say_if_busy(title):
    """While nothing of ours runs, how much of the machine others take."""

    def counts():
        ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)

    before = counts()
    time.sleep(1)
    idle, total = (after - start for start, after in zip(before, counts()))
    if idle < 0.95 * total:
        print(f"# {title}: busy: others take {100 * (1 - idle / max(total, 1)):.0f} % of the machine", flush=True)


def available():
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def main():
    parser = argparse.ArgumentParser()
    for name in ["--peer", "--bench", "--folder"]:
        parser.add_argument(name, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--cells", help=f"comma-separated; all: {','.join(CELLS)}")
    parser.add_argument("--rounds", type=int, help="rounds of a run, of which the first is dropped (5)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each side (1)")
    parser.add_argument("--quick", action="store_true", help="2x1M, three rounds")
    options = parser.parse_args()
    cells = options.cells.split(",") if options.cells else CELLS[:1] if options.quick else CELLS
    rounds = options.rounds or (3 if options.quick else 5)
    if rounds < 2:
        parser.error("--rounds: the first is dropped, so at least 2")
    cells = [parse_cell(cell, rounds) for cell in cells]

    sys.path.insert(0, str(Path(__file__).parents[1] / options.peer))
    peer = importlib.import_module("peer")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(options.folder)
    os.environ["TMPDIR"] = str(folder)
    world = World(options.apart, folder)
    if world.apart:
        print("# bytes: counted by the interface between server and clients, TCP/IP and, of ours, TLS included")
    else:
        print("# bytes: no network namespaces here; up and down are 4 bytes a parameter for theirs and ours_dense, not counted")
    print("# ours_dense: every value goes up as float32, exact; down come versions as always, entropy-coded integers, so that")
    print("# bytes_ratio is not 1; both directions in mutual TLS", flush=True)
    failed = False
    try:
        for case in cells:
            title = f"peers/{options.peer}/{case}"
            if case.memory > available():
                print(f"# {title}: left out, needs about {case.memory / 1e9:.0f} GB of memory", flush=True)
                continue
            try:
                cell(title, case, options, peer, world)
            except Failed as error:
                failed = True
                print(f"# {title}: failed: {error}", flush=True)
                world.clear()
    finally:
        world.clear(also_kept=True)
    print(f"# How to read it: {peer.WHAT}.")
    print("# Both peers buy generality with it: any Python app, process isolation, many jobs. So read `cpu`, of the server side")
    print("# alone, beside `round`; clients and server share the cores of one machine here.", flush=True)
    sys.exit(failed)


def cell(title, case, options, peer, world):
    """All sides of one cell in turns."""
    found = {name: [] for name in ["ours_dense", options.peer, "ours_default"]}
    for repeat in range(options.repeats):
        for name, runs in found.items():
            say_if_busy(f"{title}/{name}")
            if name == options.peer:
                folder = Path(options.folder) / f"{options.peer}-{case.clients}-{case.values}-{repeat}"
                folder.mkdir()
                runs.append(theirs(peer, case, folder, world))
                world.clear()
                shutil.rmtree(folder, ignore_errors=True)
            else:
                runs.append(ours(options.bench, OURS[name], case, world))
    read = {name: report(title, name, runs, case) for name, runs in found.items()}
    fair, other = read["ours_dense"], read[options.peer]
    figure(f"{title}/round_ratio", other["round"] / fair["round"], "x")
    figure(f"{title}/memory_ratio", other["peak"] / fair["peak"], "x")
    figure(f"{title}/bytes_ratio", (other["up"] + other["down"]) / (fair["up"] + fair["down"]), "x")
    figure(f"{title}/cpu_ratio", other["cpu"] / fair["cpu"], "x")


if __name__ == "__main__":
    main()
