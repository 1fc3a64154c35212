"""Starts the real binary and speaks to it as its users do: over WebSocket, HTTP and the publish socket.

Nothing here sleeps for start-up or hopes that time is enough: every wait is on a condition and has a deadline.
"""

import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jwt
from contract import check_answer, check_http, check_message
from unit_filter import behind_the_filter
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as websocket_connect

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TICKERD_BIN", ROOT / "target/release/tickerd"))
LONG = os.environ.get("TICKERD_LONG") == "1"
SECRET = "an-hmac-secret-of-the-test-house-0123456789"
DEADLINE_S = 10.0
# For what takes a machine with two busy cores long.
PATIENCE_S = 60.0


def at_most_s(seconds):
    """How long something may take that takes a free machine no longer than that: so long with TICKERD_LONG=1, thrice else, since the machine is busy. It has to
    stay below what would end the wait anyway, such as the time of a poll or of a heartbeat."""
    return seconds if LONG else 3 * seconds


# What most tests want; each may be overridden or, with None, left out.
DEFAULT_FLAGS = {
    "listen": "127.0.0.1:0",
    "admin_listen": "127.0.0.1:0",
    # The metric lane holds everything longer than the update lane's window: see `Client.everything`.
    "update_window": "20ms",
    "metric_gather": "40ms",
    "metric_flush": "20ms",
    "max_connections_per_user": 5000,
    "log": "json",
    "log_level": "info",
}


def select_ready(readers, writers, wait_s):
    """Those that can be read, and those that can be written: `select.select` knows no descriptor beyond 1,023, and a house of crowds has more."""
    poll = select.poll()
    for file in {*readers, *writers}:
        poll.register(file, (select.POLLIN if file in readers else 0) | (select.POLLOUT if file in writers else 0))
    seen = dict(poll.poll(wait_s * 1000))
    # An end or an error is found by reading or by writing.
    can_read = [file for file in readers if seen.get(file.fileno(), 0) & ~select.POLLOUT]
    return can_read, [file for file in writers if seen.get(file.fileno(), 0) & ~select.POLLIN]


def wait_until(condition, what, deadline_s=DEADLINE_S):
    """Waits until `condition()` is truthy, and returns its value."""
    ends = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > ends:
            raise AssertionError(f"waited {deadline_s} s in vain: {what}")
        time.sleep(0.01)


def figures(what, **numbers):
    """Prints what a test measured, for `pytest -s` and `pytest -rP` to show."""
    print(f"\nfigures: {what}: " + ", ".join(f"{name} {value}" for name, value in numbers.items()))


# ---- tokens --------------------------------------------------------------------------------------------------------


def mint(sub="u1", *, rooms=None, scope=None, ttl=3600, key=SECRET, alg="HS256", headers=None, **claims):
    """A token. A claim that is None is left out."""
    now = int(time.time())
    all_claims = {"sub": sub, "iat": now, "exp": now + ttl, "rooms": rooms, "scope": scope} | claims
    return jwt.encode({name: value for name, value in all_claims.items() if value is not None}, key, algorithm=alg, headers=headers)


PUBLISHER = {"sub": "backend", "scope": "publish broadcast"}


# ---- events --------------------------------------------------------------------------------------------------------


def equity(challenge="c1", user="u1", **data):
    return {"type": "EQUITY_UPDATED", "data": {"challenge_id": challenge, "user_id": user} | data}


def risk_alert(challenge="c1", user="u1", **data):
    return {"type": "RISK_ALERT", "data": {"challenge_id": challenge, "user_id": user} | data}


def note(room, lane="update", mode="stream", data=None, **envelope):
    """An event outside the catalog."""
    return {"type": "note", "room": room, "lane": lane, "mode": mode, "data": {} if data is None else data} | envelope


class Message(dict):
    """A message with its text as it came."""

    def __init__(self, text):
        super().__init__(json.loads(text))
        self.text = text

    @property
    def raw_data(self):
        """The text of `data`, which is the last member."""
        return self.text.split(',"data":', 1)[1][:-1]


# ---- the daemon ----------------------------------------------------------------------------------------------------


class Daemon:
    """A running `tickerd serve`."""

    def __init__(self, directory, prefix=(), **flags):
        directory.mkdir(parents=True, exist_ok=True)
        self.key_file = directory / "jwt.key"
        self.key_file.write_text(SECRET)
        self.stderr_file = directory / "stderr.log"
        # A socket's path has at most 107 bytes, and a test's directory may be long.
        self.socket_path = f"/tmp/tickerd-e2e-{os.getpid()}-{time.monotonic_ns()}.sock"
        defaults = DEFAULT_FLAGS | {"publish_socket": self.socket_path, "jwt_key": self.key_file}
        self.process = start(defaults | flags, self.stderr_file, prefix)
        self.ready = self._read_ready()
        self.address = address_of(self.ready["listen"][0])
        self.admin = address_of(self.ready["admin"])
        self._lines = None

    def _read_ready(self):
        readable, _ = select_ready([self.process.stdout], [], DEADLINE_S)
        line = self.process.stdout.readline() if readable else b""
        if not line:
            self.process.kill()
            raise AssertionError(f"no ready line, {how_it_ended(self.process.wait())}; stderr:\n{self.stderr()}")
        return json.loads(line)

    def stderr(self):
        return self.stderr_file.read_text(errors="replace")

    def end(self):
        """SIGTERM, and a clean exit."""
        if self._lines:
            self._lines.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"SIGTERM did not end it in 20 s; stderr:\n{self.stderr()[-4000:]}") from None
        finally:
            self.process.stdout.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.socket_path)
        assert "panicked" not in self.stderr(), self.stderr()[-4000:]
        assert code == 0, f"{how_it_ended(code)}; stderr:\n{self.stderr()[-4000:]}"

    def rss_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def cpu_s(self):
        """User and system time of all its threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metrics(self):
        """Every sample of /metrics by its full name, labels included."""
        status, _, body = http_request(self.admin, "GET", "/metrics")
        assert status == 200
        samples = (line.rsplit(" ", 1) for line in body.decode().splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def metric(self, *parts):
        """The sum of all samples whose name holds every one of `parts`."""
        return sum(value for name, value in self.metrics().items() if all(part in name for part in parts))

    # -- publishing --

    def publish(self, *events):
        """Over the publish socket; every event must be taken."""
        answers = self.publish_unix(*events)
        refused = [answer for answer in answers if not answer["ok"]]
        assert not refused, refused[:3]
        return answers

    def publish_unix(self, *events, deadline_s=DEADLINE_S):
        """Over the publish socket, pipelined; the answers in order. An event may be given as a line of bytes."""
        if self._lines is None:
            self._lines = Lines(self.socket_path)
        return self._lines.publish([line_of(event) for event in events], deadline_s)

    def publish_http(self, body, token=None, content_type="application/json", **headers):
        """One POST: the status and the answers."""
        if isinstance(body, dict):
            body = json.dumps(body)
        elif isinstance(body, list):
            body, content_type = b"\n".join(map(line_of, body)), "application/x-ndjson"
        headers = {"Content-Type": content_type, "Authorization": f"Bearer {token or mint(**PUBLISHER)}"} | headers
        status, _, answer = http_request(self.address, "POST", "/v1/publish", body, headers)
        return status, [json.loads(line) for line in answer.splitlines()]

    # -- clients --

    def connect(self, token=None, **options):
        """A client that has its `welcome`."""
        return Client(self.address, mint() if token is None else token, **options)

    def member(self, *rooms, token=None, **options):
        """A client that has joined `rooms`."""
        client = self.connect(token or mint(rooms=list(rooms)), **options)
        for room in rooms:
            client.subscribe(room)
        return client


def start(flags, stderr_file, prefix=()):
    """`tickerd serve` with `flags`, of which a list is a repeated flag, True a bare one and None none; run by the command `prefix`, and behind the
    filter of system calls of the service's unit."""
    assert BINARY.exists(), f"{BINARY} is missing: cargo build --release, or set TICKERD_BIN"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKERD_")}
    command = [*prefix, *behind_the_filter(), str(BINARY), "serve", *arguments(flags)]
    with open(stderr_file, "wb") as stderr:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environment)


def how_it_ended(code):
    return "a system call that the unit forbids: the kernel's log has its number, and strace its name" if code == -signal.SIGSYS else f"exit code {code}"


def arguments(flags):
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        for item in value if isinstance(value, list) else [value]:
            if item is True:
                yield flag
            elif item is not None:
                yield from (flag, str(item))


def address_of(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def line_of(event):
    return event if isinstance(event, bytes) else json.dumps(event).encode()


class Lines:
    """A publisher on the unix socket: lines out, one answer for each back, in order."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.socket.setblocking(False)
        self.rest = b""

    def publish(self, lines, deadline_s=DEADLINE_S, answers_expected=None):
        """Sends all and reads the answers meanwhile, so that neither side has to buffer everything."""
        expected = len(lines) if answers_expected is None else answers_expected
        out = memoryview(b"".join(line + b"\n" for line in lines))
        answers, ends = [], time.monotonic() + deadline_s
        while len(answers) < expected or out:
            left = ends - time.monotonic()
            assert left > 0, f"{len(answers)} of {expected} answers, {len(out)} bytes unsent after {deadline_s} s"
            readable, writable = select_ready([self.socket], [self.socket] if out else [], left)
            if writable:
                out = out[self.socket.send(out[:65536]) :]
            if readable:
                answers += self._read()
        return answers

    def _read(self):
        chunk = self.socket.recv(1 << 20)
        assert chunk, "the daemon closed the publish socket"
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        answers = [json.loads(line) for line in lines]
        for answer in answers:
            check_answer(answer)
        return answers

    def close(self):
        self.socket.close()


class Pump:
    """`pump.py` as a process, from its first answer on; `what` it publishes is the rest of its arguments."""

    def __init__(self, daemon, rate, count, *what):
        script = Path(__file__).with_name("pump.py")
        command_line = [sys.executable, str(script), daemon.socket_path, *map(str, (rate, count, *what))]
        self.process = subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"started\n"

    def has_ended(self):
        return self.process.poll() is not None

    def stop(self):
        """Ends it; what was answered."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0
        return json.loads(out)


# ---- HTTP ----------------------------------------------------------------------------------------------------------


def http_request(address, method, path, body=None, headers=None):
    """One request to the daemon on a connection of its own: status, headers, body, as openapi.yaml has them."""
    connection = http.client.HTTPConnection(*address, timeout=DEADLINE_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        answer = response.status, response.headers, response.read()
        check_http(method, path, *answer)
        return answer
    finally:
        connection.close()


class Response:
    """An HTTP answer read from a raw socket."""

    def __init__(self, head, body):
        status_line, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status_line.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)


class RawHttp:
    """A socket that sends what it is told, well-formed or not, and reads answers one by one."""

    def __init__(self, address, tls=None):
        self.socket = socket.create_connection(address, timeout=DEADLINE_S)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def response(self, has_body=True):
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        response = Response(head, b"")
        length = int(response.headers.get("content-length", 0)) if has_body else 0
        while len(self.rest) < length:
            self._more()
        response.body, self.rest = self.rest[:length], self.rest[length:]
        return response

    def _more(self):
        chunk = self.socket.recv(65536)
        assert chunk, f"the daemon closed the connection after {self.rest!r}"
        self.rest += chunk

    def closed(self):
        """Whether the daemon closes without another byte."""
        try:
            return not self.rest and self.socket.recv(1) == b""
        except ConnectionResetError:
            return not self.rest


def exchange(address, data, tls=None):
    """One raw request: its answer."""
    with RawHttp(address, tls) as raw:
        raw.send(data)
        response = raw.response()
    request_line = re.match(rb"([A-Z]+) (/\S*) HTTP/1\.1\r\n", data)
    if request_line:
        check_http(*map(bytes.decode, request_line.groups()), response.status, response.headers, response.body)
    return response


# ---- clients -------------------------------------------------------------------------------------------------------


class Client:
    """A WebSocket client (the library `websockets`) that speaks the protocol. `by` says where its token goes, `tls` is a context."""

    def __init__(self, address, token, *, by="header", origin=None, welcome=True, path="/v1/ws", tls=None):
        headers = {"Authorization": f"Bearer {token}"} if by == "header" else {}
        protocols = ["tickerd.v1", f"bearer.{token}"] if by == "subprotocol" else ["tickerd.v1"]
        url = f"{'wss' if tls else 'ws'}://{address[0]}:{address[1]}{path}" + (f"?token={token}" if by == "query" else "")
        self.websocket = websocket_connect(
            url, ssl=tls, origin=origin, subprotocols=protocols, additional_headers=headers, compression=None, proxy=None,
            open_timeout=DEADLINE_S, ping_interval=None, close_timeout=DEADLINE_S, max_size=None, legacy=True,  # one connection, no reconnecting
            max_queue=None,  # what is not read is in nobody's way: not in that of the answer to a Close, for which it would wait in vain
        )  # fmt: skip
        self.pending, self.last_id, self.fenced, self.welcome, self.last_word = [], 0, False, None, None
        if by == "first_message":
            self.send(type="auth", token=token)
        if welcome:
            self.welcome = self.recv()
            assert self.welcome["type"] == "welcome", self.welcome

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.websocket.close()

    def send(self, **message):
        self.websocket.send(json.dumps(message))

    def recv(self, deadline_s=DEADLINE_S):
        """The next message but for heartbeats."""
        if self.pending:
            return self.pending.pop(0)
        return self._read(time.monotonic() + deadline_s)

    def _read(self, ends):
        while True:
            message = Message(self.websocket.recv(timeout=max(0.0, ends - time.monotonic())))
            check_message(message)
            if message["type" if "type" in message else "ok"] != "heartbeat":
                return message

    def recv_type(self, kind, deadline_s=DEADLINE_S):
        """The next message of that type; those before it are dropped."""
        ends = time.monotonic() + deadline_s
        while True:
            message = self.recv(ends - time.monotonic())
            if message.get("type") == kind:
                return message

    def recv_many(self, count, deadline_s=DEADLINE_S):
        ends = time.monotonic() + deadline_s
        return [self.recv(ends - time.monotonic()) for _ in range(count)]

    def request(self, **command):
        """Sends a command with a new `id` and returns its one answer; other messages stay for `recv`."""
        self.last_id += 1
        command = {"id": self.last_id} | command
        self.send(**command)
        ends = time.monotonic() + DEADLINE_S
        while True:
            message = self._read(ends)
            if message.get("id") == command["id"]:
                return message
            self.pending.append(message)

    def subscribe(self, room, **options):
        """Joins; returns the `subscribed` and what came before `caught_up`."""
        subscribed = self.request(type="subscribe", room=room, **options)
        assert subscribed["type"] == "subscribed", subscribed
        return subscribed, self.until_caught_up(room)

    def until_caught_up(self, room):
        frames, ends = [], time.monotonic() + DEADLINE_S
        while True:
            message = self.recv(ends - time.monotonic())
            if message["type"] == "caught_up" and message["room"] == room:
                return frames
            frames.append(message)

    def refused(self, **command):
        """Sends a command that must be refused; returns the error's name."""
        answer = self.request(**command)
        assert answer["type"] == "error", answer
        return answer["name"]

    def until_closed(self, deadline_s=DEADLINE_S):
        """Everything up to the close: the messages but for the last word, and the close code. A client whose token was accepted gets a last word with each
        code of ours, and nobody else does."""
        messages, ends = [], time.monotonic() + deadline_s
        try:
            while True:
                messages.append(self.recv(ends - time.monotonic()))
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
        said = [messages.pop()] if messages and messages[-1]["type"] == "disconnect" else []
        if code is not None:
            is_due = code >= 4000 and (self.welcome is not None or any(message["type"] == "welcome" for message in messages))
            assert [word["code"] for word in said] == [code] * is_due, (said, messages[-3:], code)
        self.last_word = said[0] if said else None
        return messages, code

    def close_code(self, deadline_s=DEADLINE_S):
        return self.until_closed(deadline_s)[1]

    def everything(self, daemon):
        """All that was on its way to this client: a fence in the lowest lane comes after it."""
        room = "user:" + self.welcome["data"]["user"]
        messages = []
        if not self.fenced:
            messages = self.subscribe(room)[1]
            self.fenced = True
        fence = f"fence-{time.monotonic_ns()}"
        daemon.publish(note(room, "metric", "transient", fence))
        ends = time.monotonic() + DEADLINE_S
        while True:
            message = self.recv(ends - time.monotonic())
            if message.get("data") == fence:
                return messages
            messages.append(message)


def handshake_status(address, token, **options):
    """The HTTP status that a WebSocket handshake is refused with."""
    try:
        Client(address, token, **options).close()
    except InvalidStatus as refused:
        return refused.response.status_code
    return 101
