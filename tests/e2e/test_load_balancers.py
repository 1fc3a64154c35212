"""The samples of systemd/proxy, as they are but for addresses and files, in the real nginx and HAProxy before two real daemons (SCL-02, SCL-03, SCL-05)."""

import contextlib
import json
import signal
import time

import pytest
from certificates import Authority
from harness import DEADLINE_S, PATIENCE_S, PUBLISHER, ROOT, Client, Daemon, RawHttp, at_most_s, mint, note, wait_until
from redis_server import RedisServer
from servers import Server, free_port, run
from streams import EventStream
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from wire import RawClient

SAMPLES = ROOT / "systemd/proxy"
CLIENTS = 20
CLIENT_ADDRESS = "127.0.0.9"


class House:
    """Two daemons behind a proxy, each of which can end and come back where it was."""

    def __init__(self, directory, proxy, redis=None):
        self.directory, self.running, self.starts = directory, [], 0
        self.authority = Authority(directory)
        self.proxy = proxy
        self.certificate, self.key, _ = self.authority.issue()
        self.tls_in_daemon = {"tls_cert": self.certificate, "tls_key": self.key} if proxy == "haproxy-tcp" else {}
        self.flags = {"behind_proxy": "127.0.0.0/8", "handshakes_per_ip": 0, "client_address": "proxy-v2" if self.tls_in_daemon else None, "redis": redis}
        self.ports = [(free_port(), free_port()) for _ in range(2)]
        self.address = "127.0.0.1", free_port()

    def open(self):
        self.daemons = [self.start(0), self.start(1)]
        server = SERVERS[self.proxy](self)
        self.running.append(server)
        server.wait_for(self.address[1])
        return self

    def close(self):
        """Ends all, also where one has not ended well."""
        with contextlib.ExitStack() as ends:
            for one in self.running:
                ends.callback(one.end)

    def start(self, n):
        listen, admin = (f"127.0.0.1:{port}" for port in self.ports[n])
        self.starts += 1
        directory = self.directory / f"daemon-{self.starts}"
        daemon = Daemon(directory, reactors=1, listen=listen, admin_listen=admin, drain_timeout="3s", **self.flags, **self.tls_in_daemon)
        self.running.append(daemon)
        return daemon

    def kill(self, daemon):
        self.running.remove(daemon)
        daemon.process.kill()
        daemon.process.wait()

    def sample(self, name, replaced):
        """The sample as it is shipped, but for what differs on each machine."""
        text = (SAMPLES / name).read_text()
        for ours, theirs in replaced.items():
            assert ours in text, ours
            text = text.replace(ours, theirs)
        file = self.directory / name
        file.write_text(text)
        return file

    def nginx(self):
        log = self.directory / "access.log"
        site = self.sample("nginx.conf", {
            "127.0.0.1:8080": f"127.0.0.1:{self.ports[0][0]}", "127.0.0.1:8081": f"127.0.0.1:{self.ports[1][0]}",
            "443 ssl": f"127.0.0.1:{self.address[1]} ssl", "/etc/ssl/tickerd.pem": str(self.certificate), "/etc/ssl/tickerd.key": str(self.key),
            "/var/log/nginx/tickerd.log": str(log),
        })  # fmt: skip
        paths = "".join(f"{name}_temp_path {self.directory / name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        main = self.directory / "main.conf"
        main.write_text(
            f"user root; daemon off; pid {self.directory / 'nginx.pid'}; error_log stderr; worker_processes 2;"
            f"events {{ worker_connections 1024; }} http {{ {paths} include {site}; }}"
        )
        code, printed = run("nginx", "-t", "-e", "stderr", "-c", main)
        assert code == 0, printed
        return Server("nginx", "-e", "stderr", "-c", main, log=self.directory / "nginx.log")

    def haproxy(self):
        both = self.directory / "both.pem"
        both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        name, backends = ("haproxy-tcp.cfg", ("8443", "8444")) if self.tls_in_daemon else ("haproxy.cfg", ("8080", "8081"))
        replaced = {"bind :443": f"bind 127.0.0.1:{self.address[1]}", "log /dev/log local0": "log stdout format raw local0", "maxconn 100000": "maxconn 1000"}
        for backend, (port, _) in zip(backends, self.ports, strict=True):
            replaced |= {f"127.0.0.1:{backend}": f"127.0.0.1:{port}"}
        if not self.tls_in_daemon:
            replaced |= {"/etc/ssl/tickerd.pem": str(both)}
        file = self.sample(name, replaced)
        code, printed = run("haproxy", "-c", "-f", file)
        assert code == 0 and "WARNING" not in printed, printed
        return Server("haproxy", "-db", "-f", file, log=self.directory / "haproxy.log")

    def connect(self, user="u1"):
        return Client(self.address, mint(user, rooms=["*"]), tls=self.authority.context_of_threads())

    def crowd(self):
        """Clients in one room, by the daemon that has them."""
        clients = [self.connect(f"u{n}") for n in range(CLIENTS)]
        for client in clients:
            client.subscribe("r:1")
        return clients

    def members(self, n):
        return self.daemons[n].metric("tickerd_members")


SERVERS = {"nginx": House.nginx, "haproxy": House.haproxy, "haproxy-tcp": House.haproxy}


@pytest.fixture(params=SERVERS)
def house(request, tmp_path):
    house = House(tmp_path, request.param)
    with contextlib.closing(house):
        yield house.open()


@pytest.fixture(params=SERVERS)
def shared_house(request, tmp_path):
    """The daemons act as one, over Redis."""
    redis = RedisServer(tmp_path / "redis")
    house = House(tmp_path, request.param, redis.url)
    with contextlib.closing(house):
        yield house.open()
    redis.end()


def clients_of(daemon):
    lines = map(json.loads, daemon.stderr().splitlines())
    return [line.get("client") for line in lines if line.get("message") == "connection closed"]


def test_clients_and_publishers_go_through_and_are_who_they_are(house):
    """WebSockets are shared out; events come at once; a client's own X-Forwarded-For is nobody's word."""
    clients = house.crowd()
    wait_until(lambda: house.members(0) == house.members(1) == CLIENTS / 2, "each has half of them")
    for daemon in house.daemons:
        daemon.publish(note("r:1", "alert", data=1))
    assert [client.recv_type("note")["data"] for client in clients] == [1] * CLIENTS
    with RawHttp(house.address, house.authority.context()) as raw:
        body = json.dumps(note("r:1", data=2)).encode()
        token = mint(**PUBLISHER)
        raw.send(f"POST /v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert raw.response().json["members"] == CLIENTS / 2
    before = [len(clients_of(daemon)) for daemon in house.daemons]
    with RawClient(house.address, mint("u99"), tls=house.authority.context(), source=CLIENT_ADDRESS, X_Forwarded_For="203.0.113.9"):
        pass
    new = lambda: [client for daemon, n in zip(house.daemons, before, strict=True) for client in clients_of(daemon)[n:] if client != "127.0.0.1"]
    wait_until(lambda: new() == [CLIENT_ADDRESS], f"{CLIENT_ADDRESS} is logged as the client, and nobody else")


def test_server_sent_events_come_one_by_one(house):
    """Nothing on the way waits for a buffer to fill. (By HTTP/1.0, so that nginx does not cut the stream into chunks.)"""
    with EventStream(house.address, "r:1", mint(rooms=["r:1"]), version="1.0", tls=house.authority.context()) as events:
        assert [message["type"] for message in events.opened()] == ["welcome", "subscribed", "caught_up"]
        for n in range(5):
            for daemon in house.daemons:
                daemon.publish(note("r:1", "alert", data=n))
            assert events.recv(2)["data"] == n


def come_back(house, clients):
    """Every client that is closed connects again, at once and until it works; how long each of them took."""
    took = []
    for n, client in enumerate(clients):
        try:
            while True:
                client.recv(0.01)
        except TimeoutError:
            continue
        except ConnectionClosed:
            pass
        began = time.monotonic()
        clients[n] = wait_until(lambda n=n: try_to_connect(house, n), "it is taken by the other")
        clients[n].subscribe("r:1")
        took.append(time.monotonic() - began)
    return took


def try_to_connect(house, n):
    try:
        return house.connect(f"u{n}")
    except (InvalidHandshake, ConnectionClosed, OSError):
        return None


def test_one_of_two_is_killed_and_comes_back(house):
    """Its clients are on the other within seconds, the other's stay; then it gets new ones again."""
    clients = house.crowd()
    killed, other = house.daemons
    house.kill(killed)
    took = []

    def all_are_there():
        took.extend(come_back(house, clients))
        return house.members(1) == CLIENTS

    wait_until(all_are_there, "all are on the other", PATIENCE_S)
    assert len(took) == CLIENTS / 2 and max(took) < at_most_s(5), took
    other.publish(note("r:1", data="after"))
    assert [client.recv_type("note")["data"] for client in clients] == ["after"] * CLIENTS
    restarted = house.start(0)

    def gets_new_ones():
        house.connect("u98").close()
        return restarted.metric("tickerd_handshakes_total", "upgraded") > 0

    wait_until(gets_new_ones, "the restarted one gets clients again", PATIENCE_S)


def test_over_redis_a_client_resumes_at_whichever_daemon_it_comes_to(shared_house):
    """SCL-02, SCL-12: no sticky sessions. Events are published on the other daemon while one is dead, and its clients miss none of them."""
    house = shared_house
    clients = [house.connect(f"u{n}") for n in range(CLIENTS)]
    epochs = {client.subscribe("r:1")[0]["epoch"] for client in clients}
    assert len(epochs) == 1
    house.daemons[0].publish(note("r:1", "alert", data=1))
    assert [client.recv_type("note")["data"] for client in clients] == [1] * CLIENTS
    house.kill(house.daemons[0])
    house.daemons[1].publish(note("r:1", "alert", data=2), note("r:1", "alert", data=3))
    since = {"epoch": epochs.pop(), "seq": {"alert": 1}}
    lost = 0
    for n, client in enumerate(clients):
        try:
            assert [client.recv_type("note")["data"] for _ in range(2)] == [2, 3]
        except ConnectionClosed:
            lost += 1
            client = wait_until(lambda n=n: try_to_connect(house, n), "it is taken by the other", PATIENCE_S)
            subscribed, missed = client.subscribe("r:1", since=since)
            # What its own node has not read of the feed yet comes live.
            missed += [client.recv_type("note") for _ in range(2 - len(missed))]
            assert subscribed["recovered"] and [message["data"] for message in missed] == [2, 3]
    assert lost == CLIENTS / 2


def test_a_drain_moves_clients_and_refuses_nobody(house):
    """SIGTERM: each client is told when to come back, and whoever connects meanwhile is taken by the other at once."""
    clients = house.crowd()
    drained, other = house.daemons
    drained.process.send_signal(signal.SIGTERM)
    wait_until(lambda: '"event":"draining"' in drained.stderr(), "it drains")
    new = [house.connect(f"n{n}") for n in range(CLIENTS)]
    assert drained.process.wait(DEADLINE_S) == 0
    told = []
    for client in clients:
        try:
            while True:
                told += [message for message in [client.recv(0.01)] if message["type"] == "disconnect"]
        except (TimeoutError, ConnectionClosed):
            pass
    assert len(told) == CLIENTS / 2 and {notice["code"] for notice in told} == {4101}
    come_back(house, clients)
    wait_until(lambda: house.members(1) == CLIENTS, "all are in their room, on the other")
    assert other.metric('tickerd_connections{kind="websocket"}') == CLIENTS + len(new)
