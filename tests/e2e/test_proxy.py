"""Behind a proxy: whose word is taken for who the client is (NET-03)."""

import json
import socket

import pytest
from certificates import Authority
from harness import DEADLINE_S, RawHttp, mint, wait_until
from wire import RawClient, upgrade_request


def clients(daemon):
    """The clients of the connections that have ended, as the log has them."""
    lines = map(json.loads, daemon.stderr().splitlines())
    return [line.get("client") for line in lines if line.get("message") == "connection closed"]


def client_of(daemon, request):
    """Sends requests on one connection and closes it; the client that is logged."""
    before = len(clients(daemon))
    with RawHttp(daemon.address) as raw:
        for one in request:
            raw.send(one)
            raw.response()
    wait_until(lambda: len(clients(daemon)) > before, "the end of the connection is logged")
    return clients(daemon)[-1]


def get(**headers):
    """A request that is refused, on a connection that stays open."""
    return upgrade_request(Upgrade=None, path="/nothing", **headers)


def test_a_trusted_proxys_word_is_taken(serve):
    """The last address of X-Forwarded-For that is no proxy's, anew with each request; `Forwarded` is not asked for."""
    daemon = serve(behind_proxy=["127.0.0.0/8", "10.0.0.0/8"])
    assert client_of(daemon, [get()]) == "127.0.0.1"
    assert client_of(daemon, [get(X_Forwarded_For="203.0.113.9")]) == "203.0.113.9"
    assert client_of(daemon, [get(X_Forwarded_For="198.51.100.7, 203.0.113.9, 10.1.1.1")]) == "203.0.113.9"
    assert client_of(daemon, [get(X_Forwarded_For="203.0.113.9"), get(Forwarded="for=198.51.100.7")]) == "127.0.0.1"


def test_forwarded_is_taken_where_it_is_said_to_be(serve):
    """With --client-address forwarded it is RFC 7239's header, and X-Forwarded-For is the client's own invention."""
    daemon = serve(behind_proxy="127.0.0.0/8", client_address="forwarded")
    assert client_of(daemon, [get(Forwarded='for=198.51.100.7;proto=https, for="[2001:db8::1]:4711"')]) == "2001:db8::1"
    assert client_of(daemon, [get(X_Forwarded_For="203.0.113.9")]) == "127.0.0.1"


def test_nobody_else_is_believed(serve):
    """Without --behind-proxy the client is whoever connects, whatever it says."""
    daemon = serve()
    assert client_of(daemon, [get(X_Forwarded_For="203.0.113.9", Forwarded="for=203.0.113.9")]) == "127.0.0.1"


def test_a_websocket_has_its_upgrades_client(serve):
    daemon = serve(behind_proxy="127.0.0.0/8")
    with RawClient(daemon.address, mint(), X_Forwarded_For="203.0.113.9"):
        pass
    wait_until(lambda: clients(daemon) == ["203.0.113.9"], "the end of the WebSocket is logged")


SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxy_header(command=1, family=0x11, body=bytes([203, 0, 113, 9, 127, 0, 0, 1, 0, 80, 31, 144])):
    return SIGNATURE + bytes([0x20 | command, family]) + len(body).to_bytes(2, "big") + body


@pytest.fixture
def behind_v2(serve):
    return lambda **flags: serve(behind_proxy="127.0.0.0/8", client_address="proxy-v2", **flags)


def test_a_proxy_header_names_the_client(behind_v2):
    """PROXY protocol, version 2: before the first request, in pieces as well; what headers say is not asked then. LOCAL keeps the peer."""
    daemon = behind_v2()
    assert client_of(daemon, [proxy_header() + get(X_Forwarded_For="198.51.100.7")]) == "203.0.113.9"
    with RawHttp(daemon.address) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in proxy_header() + get():
            raw.send(bytes([byte]))
        assert raw.response().status == 404
    wait_until(lambda: clients(daemon) == ["203.0.113.9"] * 2, "the same in pieces")
    assert client_of(daemon, [proxy_header(0, 0, b"") + get()]) == "127.0.0.1"


def test_a_proxy_header_comes_before_tls(behind_v2, tmp_path):
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue()
    daemon = behind_v2(tls_cert=certificate, tls_key=key)
    with socket.create_connection(daemon.address, DEADLINE_S) as raw:
        raw.sendall(proxy_header())
        with authority.context().wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(get())
            assert tls.recv(100).startswith(b"HTTP/1.1 404")
    wait_until(lambda: clients(daemon) == ["203.0.113.9"], "the end of the connection is logged")


@pytest.mark.parametrize("bad", [b"GET / HTTP/1.1\r\n", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", proxy_header(7), proxy_header(1, 0x12)])
def test_without_its_header_a_proxy_is_not_heard(behind_v2, bad):
    """No byte is answered, and the log says why."""
    daemon = behind_v2()
    with RawHttp(daemon.address) as raw:
        raw.send(bad + get())
        assert raw.closed()
    wait_until(lambda: daemon.metric("tickerd_closed_total", "proxy_header") == 1, "the end is counted")
    assert "proxy_header_refused" in daemon.stderr()


def test_a_proxy_header_must_come_in_time(behind_v2):
    """LIM-10: half a header is a stalled handshake like any other, and its end is an end."""
    daemon = behind_v2()
    with RawHttp(daemon.address) as raw:
        raw.send(proxy_header()[:20])
        assert raw.closed()
    with RawHttp(daemon.address) as raw:
        raw.send(proxy_header()[:20])
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.closed()
    wait_until(lambda: daemon.metric("tickerd_closed_total", "timeout") == 1, "the first was closed in time")
    assert daemon.metric("tickerd_closed_total", "eof") == 1
