"""A real redis-server of the tests' own: started on a free port, with a directory of its own, ended with the test.

With TICKERD_REDIS_SERVER it is that program: `valkey-server` takes the same commands and options.
"""

import os
import signal
import socket
import subprocess
import time

from harness import DEADLINE_S, wait_until

PROGRAM = os.environ.get("TICKERD_REDIS_SERVER", "redis-server")


class RedisServer:
    """`redis-server` on loopback. What it acknowledges is on disk (`appendfsync always`), unless it is asked to keep nothing."""

    def __init__(self, directory, durable=True, **options):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.port = directory, free_port()
        keep = {"appendonly": "yes", "appendfsync": "always"} if durable else {"appendonly": "no"}
        self.options = {"port": self.port, "bind": "127.0.0.1", "dir": directory, "save": "", "loglevel": "warning"} | keep | options
        self.process = None
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        flags = [part for name, value in self.options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        self.run(PROGRAM, *flags)

    def run(self, *command):
        with open(self.directory / "redis.log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.answers, "redis-server answers")

    def is_replica(self):
        """Of a master from which it has all."""
        fields = dict(line.split(":", 1) for line in self.ask("INFO", "replication").splitlines() if ":" in line)
        return fields["role"] == "slave" and fields["master_link_status"] == "up" and fields["master_sync_in_progress"] == "0"

    def is_master(self):
        return self.ask("ROLE")[0] == "master"

    def answers(self):
        try:
            return self.ask("PING") == "PONG"
        except (OSError, RuntimeError):
            return False

    def ask(self, *words):
        """One command on a connection of its own; its answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as connection:
            connection.sendall(encoded(words))
            with connection.makefile("rb") as stream:
                return decoded(stream)

    def stall(self):
        """It stops in its tracks, with its connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def restart(self):
        self.kill()
        self.start()

    def cpu_s(self):
        """Processor time so far."""
        info = self.ask("INFO", "cpu")
        fields = dict(line.split(":") for line in info.splitlines() if ":" in line)
        return float(fields["used_cpu_user"]) + float(fields["used_cpu_sys"])

    def end(self):
        if self.process.poll() is None:
            self.go_on()
            self.kill()


class Sentinel(RedisServer):
    """One sentinel, which needs no other to agree, and thinks a master dead after a second."""

    def __init__(self, directory, master):
        self.master_port = master.port
        super().__init__(directory)

    @property
    def url(self):
        return f"redis+sentinel://127.0.0.1:{self.port}/desk"

    def start(self):
        configuration = self.directory / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\nsentinel monitor desk 127.0.0.1 {self.master_port} 1\n"
            "sentinel down-after-milliseconds desk 1000\nsentinel failover-timeout desk 5000\n"
        )
        self.run(PROGRAM, str(configuration), "--sentinel")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def encoded(words):
    words = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def decoded(stream):
    line = stream.readline()
    if not line:
        raise OSError("redis-server closed the connection")
    kind, rest = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise RuntimeError(rest)
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode()
    if kind == b"*":
        return None if rest == "-1" else [decoded(stream) for _ in range(int(rest))]
    return rest


def wait_s(condition, what, deadline_s=DEADLINE_S):
    """How long it takes until `condition()` holds."""
    begun = time.monotonic()
    wait_until(condition, what, deadline_s)
    return time.monotonic() - begun
