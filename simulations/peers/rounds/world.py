"""Where both sides run, and what is measured of them from outside: processor time, memory, bytes between the two sides."""

import bisect
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

SERVER, CLIENTS = "10.77.0.1", "10.77.0.2"
NAME = "fovea-server"
TICK = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A run that did not do what it should."""


def wait_for(condition, seconds, process, log):
    """Until the condition holds; not if the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            why = "in time" if process.poll() is None else "before its process ended"
            raise Failed(f"not done {why}; its log ends:\n{''.join(log.read_text().splitlines(True)[-15:])}")
        time.sleep(0.05)


def free_port(prefix=()):
    """A port nobody listens on, in the namespace that the prefix leads to."""
    ask = "import socket; s = socket.socket(); s.bind(('', 0)); print(s.getsockname()[1])"
    if prefix:
        return int(subprocess.check_output([*prefix, sys.executable, "-S", "-c", ask]))
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def parents():
    """The parent of each process."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    return found


def descendants(root):
    """All processes that came from this one."""
    of, found, fresh = parents(), set(), {root}
    while fresh:
        found |= fresh
        fresh = {child for child, parent in of.items() if parent in fresh} - found
    return found - {root}


class World:
    """A server's side, in which this process is, and a clients' side.

    `apart`: each side in a network namespace, which the caller prepared for this process; else both are on loopback. Commands
    with the prefix `clients` run on the clients' side. The server's address and its name are known on both.
    """

    def __init__(self, apart, folder):
        self.apart = apart
        self.address, self.name, self.clients, self.server, self.kept = "127.0.0.1", "localhost", [], [], set()
        # Whoever outlives its parent becomes a child of this process, so that none is missed in the end.
        ctypes.CDLL(None).prctl(36, 1)
        if apart:
            holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
            own = os.readlink("/proc/self/ns/net")
            while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
                time.sleep(0.01)
            self.kept = {holder.pid}
            self.clients = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
            self.server = ["nsenter", f"--net=/proc/{os.getpid()}/ns/net"]
            self.address, self.name = SERVER, NAME
            interface = ["link", "add", "server", "type", "veth", "peer", "name", "clients", "netns", str(holder.pid)]
            self.ip(interface)
            for prefix, device, address in [([], "server", SERVER), (self.clients, "clients", CLIENTS)]:
                self.ip(["link", "set", "lo", "up"], prefix)
                self.ip(["address", "add", f"{address}/24", "dev", device], prefix)
                self.ip(["link", "set", device, "up"], prefix)
            hosts = folder / "hosts"
            hosts.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{SERVER} {NAME}\n")
            subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)

    @staticmethod
    def ip(words, prefix=()):
        subprocess.run([*prefix, "ip", *words], check=True)

    def start(self, command, log, environment=None):
        """Starts a process whose words go to the end of a log."""
        with log.open("a") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment)

    def listens(self, port):
        """Whether somebody listens on the server's port."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.address, port)) == 0

    def bytes(self):
        """Bytes up and down so far, as the interface between the sides counts them; None on loopback."""
        if not self.apart:
            return None
        lines = Path("/proc/net/dev").read_text().splitlines()
        counts = next(line.split(":")[1].split() for line in lines if line.strip().startswith("server:"))
        return int(counts[0]), int(counts[8])

    def probe(self, process, ignore=None):
        return Probe(self, process.pid, ignore)

    def clear(self, also_kept=False):
        """Ends all processes that were started, however deep."""
        while left := descendants(os.getpid()) - (set() if also_kept else self.kept):
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            for pid in left:
                try:
                    os.waitpid(pid, 0 if parents().get(pid) == os.getpid() else os.WNOHANG)
                except ChildProcessError:
                    continue


class Probe(threading.Thread):
    """Looks at a process and what comes from it ten times a second, except at processes whose command contains `ignore`."""

    def __init__(self, world, root, ignore):
        super().__init__(daemon=True)
        self.world, self.root, self.ignore = world, root, ignore
        self.ended = threading.Event()
        self.cpu, self.peaks, self.samples = {}, {}, []
        self.start()

    def run(self):
        looked, pids = 0.0, set()
        while not self.ended.wait(0.1):
            if time.monotonic() - looked > 1:
                looked, pids = time.monotonic(), {pid for pid in {self.root} | descendants(self.root) if not self.ignored(pid)}
            self.look(pids)

    def ignored(self, pid):
        try:
            return self.ignore is not None and self.ignore in Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return True

    def look(self, pids):
        for pid in pids:
            try:
                words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            memory = [int(line.split()[1]) for line in status.splitlines() if line.startswith(("VmHWM", "VmRSS"))]
            self.cpu[pid] = (int(words[11]) + int(words[12])) / TICK
            self.peaks[pid] = max(memory, default=0)
        self.samples.append((time.time(), sum(self.cpu.values()), *(self.world.bytes() or (0, 0))))

    def between(self, start, end):
        """Processor seconds, bytes up and bytes down between two times."""
        self.ended.set()
        self.join()
        times = [sample[0] for sample in self.samples]

        def at(moment):
            after = min(max(bisect.bisect(times, moment), 1), len(times) - 1)
            (t0, *old), (t1, *new) = self.samples[after - 1], self.samples[after]
            share = min(max((moment - t0) / (t1 - t0), 0), 1)
            return [a + share * (b - a) for a, b in zip(old, new)]

        return [b - a for a, b in zip(at(start), at(end))]

    def peak(self):
        """The peaks of all processes together, MB."""
        return sum(self.peaks.values()) / 1e3
