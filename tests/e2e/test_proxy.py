"""Behind a proxy: whose word is taken for who the client is (NET-03)."""

import json

from harness import RawHttp, mint, wait_until
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
