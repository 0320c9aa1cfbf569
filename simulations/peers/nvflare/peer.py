"""A run of NVIDIA FLARE as it is deployed: provisioned start-up kits, a server, a process per client, a job through the admin API.

This is its PoC mode (same kits, same start scripts, mutual TLS) without the one thing that keeps PoC on one host, the server's
name `localhost`: so that server and clients can be in network namespaces of their own. Not the simulator, whose clients are
threads or children of one process. The job is the NumPy FedAvg recipe with its defaults. Server side are the server's process and
the process of the job.
"""

import os
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
from world import Failed, free_port, wait_for

WHAT = "most of FLARE's time with small models is polling (tasks, their results and replies are looked for every 0.2 to 2 s)"
TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}")
BEGUN = re.compile(r"Round \d+ started\.|Finished FedAvg\.")
PROGRAMS = Path(sys.executable).parent
PROJECT = """api_version: 3
name: fovea
participants:
  - {{name: server, type: server, org: here, fed_learn_port: {port}, admin_port: {admin_port}, default_host: {host}}}
  - {{name: admin@here.org, type: admin, org: here, role: project_admin}}
{clients}
builders:
  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder
    args: {{template_file: [master_template.yml]}}
  - path: nvflare.lighter.impl.static_file.StaticFileBuilder
    args: {{config_folder: config}}
  - path: nvflare.lighter.impl.cert.CertBuilder
  - path: nvflare.lighter.impl.signature.SignatureBuilder
"""


def run(case, folder, world):
    """The times at which rounds began and the last ended, and a probe of the server side."""
    environment = os.environ | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(folder)}
    log, port, here = folder / "server.log", free_port(), Path(__file__).parent
    kits = provision(case, folder, world, port, environment)

    def start(name, to, prefix=()):
        command = [*prefix, "bash", str(kits / name / "startup" / "sub_start.sh"), "--once"]
        return world.start(command, to, environment)

    server = start("server", log)
    wait_for(lambda: world.listens(port), 120, server, log)
    probe = world.probe(server)
    for index in range(case.clients):
        start(f"site-{index}", folder / "clients.log", world.clients)
    np.save(folder / "initial.npy", np.sin(0.37 * np.arange(case.values, dtype=np.float32)))
    shutil.copy(here / "client.py", folder)
    words = [here / "job.py", kits / "admin@here.org", folder / "initial.npy", case.clients, case.rounds]
    call([sys.executable, "-B", *map(str, words)], environment, folder)

    def times():
        """From the server's log, where the banner of a round spans lines and only the first has the time."""
        found, time = [], ""
        for line in log.read_text(errors="replace").splitlines():
            time = stamp[0] if (stamp := TIME.match(line)) else time
            if BEGUN.search(line):
                found.append(datetime.strptime(time, "%Y-%m-%d %H:%M:%S,%f").timestamp())
        return found

    wait_for(lambda: len(times()) > case.rounds, case.patience, server, log)
    return times(), probe


def call(command, environment, folder):
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stdout + done.stderr)


def provision(case, folder, world, port, environment):
    """A start-up kit for everyone; their folder."""
    clients = [f"  - {{name: site-{index}, type: client, org: here}}" for index in range(case.clients)]
    words = {"port": port, "admin_port": free_port(), "host": world.name, "clients": "\n".join(clients)}
    (folder / "project.yml").write_text(PROJECT.format(**words))
    call([str(PROGRAMS / "nvflare"), "provision", "-p", "project.yml", "-w", "workspace"], environment, folder)
    kits = folder / "workspace" / "fovea" / "prod_00"
    # Where the server keeps jobs; /tmp/nvflare by default.
    local = kits / "server" / "local"
    resources = (local / "resources.json.default").read_text().replace("/tmp/nvflare", str(folder / "store"))
    (local / "resources.json").write_text(resources)
    return kits
