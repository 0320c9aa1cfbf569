"""A run of Flower's deployment runtime: a SuperLink, a SuperNode per client, and `flwr run`, all with their defaults.

Not the simulation, which is one process of many. The state is in memory, there is no TLS (quickstart's `--insecure`; ours has
mutual TLS), and apps run in processes of their own (isolation `subprocess`, the default). Server side are the SuperLink and the
server app; the SuperExec, an idle process that starts the server app, is left out.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from world import Failed, free_port, wait_for

WHAT = "most of Flower's round time is polling (server app and SuperNodes look every 3 s) and starting a Python process per message"


def run(case, folder, world):
    """The times at which rounds began and the last ended, and a probe of the server side."""
    programs = Path(sys.executable).parent
    port, stamps = free_port(), folder / "stamps"
    shutil.copytree(Path(__file__).with_name("app"), folder / "app")
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "{world.address}:{port}"\ninsecure = true\n'
    )
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder),
        "FLWR_HOME": str(folder),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }
    log = folder / "log"

    def start(command, prefix=()):
        return world.start([*prefix, *map(str, command)], log, environment)

    server = start([programs / "flower-superlink", "--insecure", "--host", world.address, "--port", port])
    wait_for(lambda: world.listens(port), 60, server, log)
    probe = world.probe(server, ignore="flower-superexec")
    node = [programs / "flower-supernode", "--insecure", "--superlink", f"{world.address}:{port}", "--port"]
    for _ in range(case.clients):
        start([*node, free_port(world.clients)], world.clients)
    config = f'clients={case.clients} values={case.values} rounds={case.rounds} stamps="{stamps}"'
    submit = [programs / "flwr", "run", folder / "app", "here", "--run-config", config]
    done = subprocess.run(submit, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stdout + done.stderr)

    def times():
        return [float(line) for line in stamps.read_text().split()] if stamps.exists() else []

    wait_for(lambda: len(times()) > case.rounds, case.patience, server, log)
    return times(), probe
