"""The unit files, and what they promise: sockets that outlive the daemon, the filter of system calls, the hardening."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from certificates import Authority
from harness import BINARY, ROOT, SECRET, Client, Daemon, figures, mint, note, wait_until
from manager import Manager
from unit_filter import allowed_calls, analyze, behind_the_filter

UNITS = ROOT / "systemd"
RESTARTS, CONNECTS_PER_S = 50, 200


# ---- units -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path):
    """The units with the binary that is tested in the place of the one that a package installs."""
    for name in ("tickerd.service", "tickerd.socket"):
        text = (UNITS / name).read_text().replace("/usr/bin/tickerd", str(BINARY.resolve()))
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_units_are_sound(units):
    """OPS-04, OPS-07: not a warning."""
    verified = analyze("verify", "--man=no", units / "tickerd.service", units / "tickerd.socket")
    assert (verified.returncode, verified.stderr) == (0, "")
    (units / "tickerd.service").write_text((units / "tickerd.service").read_text().replace("WatchdogSec=30", "WatchdogSec=soon"))
    assert "soon" in analyze("verify", "--man=no", units / "tickerd.service").stderr, "and it would be told"


def test_the_service_is_not_exposed(units):
    """OPS-07: at most 1.2 of 10."""
    analysis = analyze("security", "--offline=true", "--threshold=12", units / "tickerd.service")
    assert analysis.returncode == 0, analysis.stdout
    assert re.search(r"Overall exposure level for tickerd.service: (0|1\.[0-2])", analysis.stdout), analysis.stdout


def test_the_sample_configuration_is_taken(tmp_path):
    """OPS-05: as it is installed, with the credential of the unit; the sockets of the socket unit are those of the configuration."""
    (tmp_path / "jwt.key").write_text(SECRET)
    sample = (UNITS / "tickerd.toml").read_text().replace("/var/lib/tickerd", str(tmp_path / "data"))
    (tmp_path / "tickerd.toml").write_text(sample)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "PATH": os.environ["PATH"]}
    checked = subprocess.run([BINARY, "check", "--config", tmp_path / "tickerd.toml"], capture_output=True, text=True, env=environment, timeout=20)
    assert checked.returncode == 0, checked.stderr
    assert len(re.findall(r"^# (pass|FAIL)  ", checked.stdout, re.MULTILINE)) == 14
    values = dict(line.split(" = ", 1) for line in checked.stdout.splitlines() if " = " in line and not line.startswith("#"))
    configured = {json.loads(value.split("   #")[0]) if not value.startswith("[") else json.loads(value.split("   #")[0])[0]
                  for name, value in values.items() if name in ("listen", "admin_listen", "publish_socket")}  # fmt: skip
    assert configured == set(re.findall(r"^ListenStream=(.*)$", (UNITS / "tickerd.socket").read_text(), re.MULTILINE))


# ---- sockets that are passed -------------------------------------------------------------------------------------------


class Sockets:
    """What a socket unit holds: a public listener, the admin one, the publish socket."""

    def __init__(self, public=1):
        self.path = f"/tmp/tickerd-e2e-{os.getpid()}-{time.monotonic_ns()}.passed"
        self.public = [self._tcp(reuse=public > 1)]
        while len(self.public) < public:
            self.public.append(self._tcp(reuse=True, port=self.public[0].getsockname()[1]))
        self.admin = self._tcp()
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(self.path)
        self.unix.listen(128)
        self.all = [*self.public, self.admin, self.unix]
        for each in self.all:
            os.set_inheritable(each.fileno(), True)

    def _tcp(self, reuse=False, port=0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(4096)
        return listener

    @property
    def address(self):
        return self.public[0].getsockname()

    def prefix(self, *but):
        """The command that hands them over from the third descriptor on, as systemd does."""
        given = [each for each in self.all if each not in but]
        redirections = " ".join(f"{3 + at}<&{each.fileno()}" for at, each in enumerate(given))
        return ["bash", "-c", f'export LISTEN_FDS={len(given)} LISTEN_PID=$$; exec "$@" {redirections}', "activate"]

    def flags(self):
        """The same in the configuration."""
        name = lambda listener: "{}:{}".format(*listener.getsockname())
        return {"listen": name(self.public[0]), "admin_listen": name(self.admin), "publish_socket": self.path}

    def served(self, daemon):
        """The daemon, which is to be published to by the socket that it was given; the file is ours."""
        daemon.socket_path = self.path
        return daemon

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in self.all:
            each.close()
        os.unlink(self.path)


@pytest.fixture
def no_closing(monkeypatch):
    """Daemons inherit what is inheritable: `subprocess` would close it."""
    original = subprocess.Popen.__init__
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda self, *args, **kwargs: original(self, *args, **({"close_fds": False} | kwargs)))


@pytest.mark.parametrize("public, reactors", [(1, 1), (1, 3), (3, 3), (3, 2)])
def test_sockets_that_are_passed_are_used(serve, no_closing, public, reactors):
    """OPS-04: none is bound, all are served; with fewer or more of them than reactors too, each reactor gets connections."""
    with Sockets(public) as sockets:
        daemon = sockets.served(serve(reactors=reactors, prefix=sockets.prefix(), **sockets.flags()))
        assert daemon.address == sockets.address and daemon.ready["publish_socket"] == sockets.path
        assert daemon.admin == sockets.admin.getsockname()
        members = [daemon.member("r:1", token=mint(f"u{n}", rooms=["r:1"])) for n in range(60)]
        daemon.publish(note("r:1"))
        for member in members:
            assert member.recv()["type"] == "note"
        used = {member.welcome["data"]["session"].split("-")[1] for member in members}
        assert len(used) == reactors, f"reactors that have clients: {used}"
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(20) == 0
        assert os.path.exists(sockets.path), "the file is its maker's"


def test_some_are_passed_and_others_bound(serve, no_closing):
    """OPS-04: what is not passed is bound as ever."""
    with Sockets() as sockets:
        flags = sockets.flags() | {"admin_listen": "127.0.0.1:0"}
        daemon = sockets.served(serve(reactors=2, prefix=sockets.prefix(sockets.admin), **flags))
        daemon.publish(note("r:1"))
        daemon.connect().close()
        assert daemon.admin != sockets.admin.getsockname() and daemon.metric("tickerd_connections") >= 0


def test_a_socket_that_nobody_serves_is_an_error(tmp_path, no_closing):
    """OPS-04: its clients would wait for ever."""
    with Sockets() as sockets:
        flags = sockets.flags() | {"listen": "127.0.0.1:0"}
        with pytest.raises(AssertionError) as failed:
            Daemon(tmp_path / "daemon", prefix=sockets.prefix(), reactors=1, **flags)
        address = "{}:{}".format(*sockets.address)
        assert address in str(failed.value) and "--listen" in str(failed.value)


def test_sockets_for_another_process_are_left_alone(serve):
    """OPS-04: LISTEN_PID is not ours."""
    daemon = serve(reactors=1, prefix=["env", "LISTEN_FDS=3", "LISTEN_PID=1"])
    daemon.connect().close()


class Connects:
    """So many connects a second, each to its `welcome`; what became of them."""

    def __init__(self, address):
        self.address, self.over, self.outcomes, self.lock = address, threading.Event(), {}, threading.Lock()
        self.token, self.slowest_s, self.threads = mint("visitor"), 0.0, []
        self.pacer = threading.Thread(target=self._pace)
        self.pacer.start()

    def _pace(self):
        due = time.monotonic()
        while not self.over.is_set():
            thread = threading.Thread(target=self._connect)
            thread.start()
            self.threads.append(thread)
            due += 1 / CONNECTS_PER_S
            time.sleep(max(0.0, due - time.monotonic()))

    def _connect(self):
        began = time.monotonic()
        outcome = self._visit()
        with self.lock:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def _visit(self):
        request = (
            f"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {self.token}\r\n\r\n"
        )
        try:
            with socket.create_connection(self.address, timeout=30) as visitor:
                visitor.sendall(request.encode())
                answer = b""
                while b"welcome" not in answer and not answer.startswith(b"HTTP/1.1 503"):
                    chunk = visitor.recv(4096)
                    if not chunk:
                        return "closed: " + (answer[:40].decode() or "without a word")
                    answer += chunk
                return "welcome" if b"welcome" in answer else "503"
        except OSError as error:
            return type(error).__name__

    def stop(self):
        self.over.set()
        self.pacer.join()
        for thread in self.threads:
            thread.join(60)
        return self.outcomes


def test_restarts_refuse_no_connection(tmp_path, no_closing):
    """OPS-04, SCL-05: 50 restarts under 200 connects a second. Those that come meanwhile wait; one that came just before is answered, and be it that
    the daemon is stopping."""
    with Sockets() as sockets:
        start = lambda number: Daemon(tmp_path / f"daemon-{number}", prefix=sockets.prefix(), reactors=2, **sockets.flags(),
                                      max_connections=20_000, max_connections_per_user=None, config=config)  # fmt: skip
        config = tmp_path / "config.toml"
        config.write_text("max_connections_per_user = 20000\n")
        daemon, connects = start(0), Connects(sockets.address)
        began = time.monotonic()
        try:
            for number in range(1, RESTARTS + 1):
                time.sleep(0.1)
                daemon.end()
                daemon = start(number)
        finally:
            outcomes = connects.stop()
            daemon.end()
        figures("restarts", restarts=RESTARTS, seconds=round(time.monotonic() - began, 1), slowest_s=round(connects.slowest_s, 2), **outcomes)
    assert sum(outcomes.values()) > RESTARTS * CONNECTS_PER_S * 0.1
    assert set(outcomes) <= {"welcome", "503"}, outcomes
    assert outcomes["welcome"] > 0.9 * sum(outcomes.values())


# ---- system calls ------------------------------------------------------------------------------------------------------


FORBIDDEN = {
    "another root": "os.chroot('/')",
    "another namespace's mount": "ctypes.CDLL(None).umount2(b'/nowhere', 0)",
    "memory to write and to run": "mmap.mmap(-1, 4096, prot=7)",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_the_unit_forbids_ends_a_daemon_of_these_tests(name):
    """OPS-07: all daemons of these tests run behind the filter of the unit; it is there, and it bites."""
    done = subprocess.run([*behind_the_filter(), sys.executable, "-c", f"import ctypes, mmap, os; print('began', flush=True); {FORBIDDEN[name]}"], stdout=subprocess.PIPE)
    assert (done.stdout, done.returncode) == (b"began\n", -signal.SIGSYS)


def test_the_filter_is_that_of_the_running_daemon(daemon1):
    """OPS-07: mode 2 is a filter, and no thread is without."""
    tasks = list(Path(f"/proc/{daemon1.process.pid}/task").iterdir())
    modes = [re.search(r"^Seccomp:\s+(\d)$", (task / "status").read_text(), re.MULTILINE).group(1) for task in tasks]
    assert len(modes) > 2 and set(modes) == {"2"}
    families = "import socket; [socket.socket(family).close() for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)]; socket.socket(socket.AF_NETLINK)"
    refused = subprocess.run([*behind_the_filter(), sys.executable, "-c", families], capture_output=True, text=True)
    assert "OSError: [Errno 97]" in refused.stderr, refused


def test_the_filter_lets_every_system_call_through(tmp_path, serve):
    """OPS-07: everything that the daemon does in a life with all options, from its start to its end, told by name."""
    trace = tmp_path / "calls"
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue("desk")
    with Manager(tmp_path) as manager:
        prefix = [*manager.environment(30), "strace", "-D", "-f", "-qq", "-c", "-o", str(trace)]
        nobody = "http://127.0.0.1:1/"
        daemon = serve(prefix=prefix, reactors=2, tls_cert=certificate, tls_key=key, data_dir=tmp_path / "data", pin_cores=True, busy_poll_us=10,
                       compression=True, authorizer_url=nobody, memory_budget="256MiB")  # fmt: skip
        members = [Client(daemon.address, mint(f"u{n}", rooms=["r:*"]), tls=authority.context_of_threads()) for n in range(5)]
        for member in members:
            member.subscribe("r:1")
            assert member.refused(type="subscribe", room="other:1") == "auth_backend_unavailable"
        for number in range(50):
            daemon.publish(note("r:1", "alert", data={"n": number}), note("r:1", "metric", "state", data={"n": number}))
        past = {"epoch": "0" * 16, "seq": {"alert": 1}}
        members[0].request(type="subscribe", room="r:2", since=past)
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.metric("tickerd_reloads_total") == 1, "it is read again")
        wait_until(lambda: manager.said("WATCHDOG=1"), "a sign of life")
        daemon.end()
    wait_until(lambda: trace.exists() and trace.stat().st_size > 0, "the tracer writes what it saw")
    rows = [line.split() for line in trace.read_text().splitlines()]
    made = {row[-1] for row in rows if len(row) >= 5 and re.fullmatch(r"[\d.]+", row[0]) and row[-1] not in ("total", "syscall")}
    assert {"epoll_wait", "fdatasync", "accept4"} & made and len(made) > 30, made
    figures("system calls", made=len(made))
    if os.geteuid() == 0:
        made -= {"fchown"}  # SQLite gives its files to their directory's owner, as root alone; the unit's user is none
    assert made <= allowed_calls(), f"the unit forbids {made - allowed_calls()}"
