"""The admin listener itself: what it refuses, and how."""

import json
import socket

import pytest
from harness import DEADLINE_S, RawHttp, http_request, wait_until


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("POST", "/v1/explain", "GET"), ("POST", "/v1/alerts", "GET"), ("DELETE", "/metrics", "GET"), ("GET", "/v1/revoke", "POST"), ("PUT", "/v1/log-level", "POST")],
)
def test_another_method_is_refused_as_everywhere(daemon, method, path, allow):
    """ERR-01: 405 has the code of the table, and `Allow`."""
    status, headers, body = http_request(daemon.admin, method, path, "{}" if method != "GET" else None, {"Content-Type": "application/json"})
    answer = json.loads(body)
    assert (status, answer["code"], answer["name"], headers["Allow"]) == (405, 303, "method_not_allowed", allow)


def test_too_many_requests_at_once_are_told_so(serve):
    """LIM-10, ERR-01: who holds all places is served no better for it, and the others hear 503 instead of a reset; the log has a line, not one for each."""
    daemon = serve(reactors=1)
    holders = [socket.create_connection(daemon.admin) for _ in range(64)]
    for holder in holders:
        holder.sendall(b"GET /livez HTTP/1.1\r\n")
    try:
        refused = 0
        for _ in range(40):
            with RawHttp(daemon.admin) as raw:
                raw.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                response = raw.response()
            if response.status == 503:
                refused += 1
                assert (response.json["name"], response.headers["retry-after"]) == ("over_capacity", "1")
        assert refused >= 30
        assert daemon.stderr().count("admin_request_dropped") == 1
        for holder in holders:
            holder.settimeout(DEADLINE_S)
            assert holder.recv(4096).startswith(b"HTTP/1.1 400"), "half a request ends after two seconds"
    finally:
        for holder in holders:
            holder.close()
    wait_until(lambda: http_request(daemon.admin, "GET", "/livez")[0] == 200, "there is place again")
