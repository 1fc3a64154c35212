"""Servers of others that tests start beside the daemon: Prometheus, nginx, HAProxy. `tests/run tools` unpacks them below target/."""

import os
import random
import shutil
import socket
import subprocess

from harness import DEADLINE_S, ROOT, wait_until

UNPACKED = ROOT / "target/tools/debian"


def tool(name):
    """The path of a program: what tests/run unpacked, else what this machine has."""
    found = [str(path) for path in (UNPACKED / "usr/bin" / name, UNPACKED / "usr/sbin" / name) if path.exists()]
    found = found or [path for path in [shutil.which(name)] if path]
    assert found, f"{name} is missing: run tests/run tools"
    return found[0]


def environment():
    """With the libraries that came with them."""
    return os.environ | {"LD_LIBRARY_PATH": str(UNPACKED / "usr/lib/x86_64-linux-gnu")}


def run(name, *arguments, **options):
    """Runs a program to its end; what it printed, both streams together, and its exit code."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "timeout": 300} | options
    done = subprocess.run([tool(name), *map(str, arguments)], env=environment(), **options)
    return done.returncode, done.stdout.decode()


def free_port():
    """A port of loopback that is free now, for a server that cannot say which one it took: none of those that the kernel gives to others."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Server:
    """A program that runs until the end of a `with`."""

    def __init__(self, name, *arguments, log):
        self.log = log
        with open(log, "wb") as out:
            command = [tool(name), *map(str, arguments)]
            self.process = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_for(self, port):
        """Until something listens there."""

        def listens():
            assert self.process.poll() is None, f"it has ended:\n{self.log.read_text(errors='replace')[-4000:]}"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                return False
            return True

        wait_until(listens, f"port {port} listens")
