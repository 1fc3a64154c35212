"""What the daemon gives to browsers: the client and the dashboard, as files."""

import re

from harness import ROOT, RawHttp, http_request

WEB = ROOT / "src/web"


def test_the_client_is_served_once_and_then_known_by_its_tag(daemon):
    """CLI-09: a browser that has it gets 304."""
    status, headers, body = http_request(daemon.address, "GET", "/client.js")
    assert (status, body) == (200, (WEB / "client.js").read_bytes())
    assert headers["content-type"] == "text/javascript; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["access-control-allow-origin"] == "*"
    assert "default-src 'none'" in headers["content-security-policy"] and "unsafe" not in headers["content-security-policy"]
    again = http_request(daemon.address, "GET", "/client.js", headers={"If-None-Match": headers["etag"]})
    assert (again[0], again[2], again[1]["etag"]) == (304, b"", headers["etag"])
    status, _, body = http_request(daemon.address, "GET", "/client.d.ts?x=1")
    assert (status, body) == (200, (WEB / "client.d.ts").read_bytes())


def test_every_file_of_the_dashboard_is_there(daemon):
    """CLI-11: what the page names is served from here, of the right type."""
    status, headers, page = http_request(daemon.address, "GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    named = set(re.findall(r'(?:href|src)="(/[^"]+\.\w+)"', page.decode()))
    assert named == {"/dashboard.css", "/dashboard.js", "/icon.svg"}
    assert not re.search(r"<script>|<style|style=|\son\w+=", page.decode()), "the policy would refuse what is inline"
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    for path in named | {"/plots.js", "/session.js", "/react.js"}:
        status, headers, body = http_request(daemon.address, "GET", path)
        assert (status, headers["content-type"]) == (200, types[path.rsplit(".")[-1]]), path
        assert body


def test_every_file_of_the_operators_view_is_there(daemon):
    """CLI-11: the same of the page for operators; also of what its scripts import."""
    status, headers, page = http_request(daemon.address, "GET", "/operator")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["content-security-policy"] and "unsafe" not in headers["content-security-policy"]
    assert not re.search(r"<script>|<style|style=|\son\w+=", page.decode()), "the policy would refuse what is inline"
    named, wanted = set(re.findall(r'(?:href|src)="(/[^"]+\.\w+)"', page.decode())), set()
    assert named == {"/dashboard.css", "/operator.css", "/operator.js", "/icon.svg"}
    while named - wanted:
        path = (named - wanted).pop()
        wanted.add(path)
        status, _, body = http_request(daemon.address, "GET", path)
        assert (status, body) == (200, (WEB / "dashboard" / path[1:]).read_bytes()), path
        named |= {f"/{name}" for name in re.findall(r'from "\./(\w+\.js)"', body.decode())}
    assert wanted >= {"/charts.js", "/figures.js", "/poll.js", "/plots.js", "/session.js"}


def test_heads_other_methods_and_pipelines(daemon):
    """Each answer ends where it should: the next one is read right."""
    with RawHttp(daemon.address) as raw:
        for method, status in [("HEAD", 200), ("GET", 200), ("POST", 405), ("DELETE", 405), ("HEAD", 200), ("GET", 200)]:
            raw.send(f"{method} /react.js HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            response = raw.response(has_body=method != "HEAD")
            assert response.status == status, method
            if status == 405:
                assert response.headers["allow"] == "GET, HEAD"
