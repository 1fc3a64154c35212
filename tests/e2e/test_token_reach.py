"""No file is opened and no connection is made for what a token says: seen from below, by the system calls of the whole daemon (AUT-01)."""

import json
import re
import shutil
import socket
import time

import pytest
from bad_tokens import BAD_TOKENS, HS256, Keys, by_hand, claims_of, good
from harness import RawHttp, wait_until
from wire import CLOSE, RawClient, command, upgrade_request

# What names a file or another machine, in the ways that libraries were fooled by.
BAIT = "{bait}"
VALUES = [
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "/dev/null",
    "/proc/self/environ",
    "file:///etc/passwd",
    f"http://{BAIT}/keys.json",
    f"https://{BAIT}/keys.json",
    f"ldap://{BAIT}/cn=key",
    f"//{BAIT}/share/key",
    f"\\\\{BAIT}\\share\\key",
    "hmac.key' UNION SELECT 'secret",
    f"$(wget http://{BAIT}/)",
    f"`wget http://{BAIT}/`",
    f"x | nc {BAIT}",
    "hmac.key\x00.pem",
    ["/etc/passwd", f"http://{BAIT}/"],
    {"kty": "oct", "k": "", "x5u": f"http://{BAIT}/cert.pem"},
]
FIELDS = ["kid", "jku", "x5u", "x5c", "x5t", "x5t#S256", "jwk", "jwe", "typ", "cty", "crit", "zip", "url", "iss", "epk", "x-unknown"]
# What opens a file, or reaches somebody.
REACHES = re.compile(r"^\d+ +(?!accept4|recv|send|shutdown|getsockname|getpeername|setsockopt|getsockopt)(\w+)\(", re.MULTILINE)


def bait_of(value, address):
    return json.loads(json.dumps(value).replace(BAIT, address))


@pytest.fixture
def bait():
    """A server that whoever follows a token's word would come to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def attacks(keys, address):
    """Tokens whose header says where a key is: with the daemon's own signature, and with a stranger's. And all other bad ones."""
    for field in FIELDS:
        for value in VALUES:
            header = HS256 | {field: bait_of(value, address)}
            yield by_hand(header, claims_of())
            yield by_hand(header, claims_of(), b"a stranger's secret, which is long enough 0123")
    yield from (make(keys) for make in BAD_TOKENS.values())


def test_what_a_token_says_reaches_nothing(serve, tmp_path, bait):
    """AUT-01: over 500 tokens by three ways in; meanwhile the daemon makes no system call that names a file or reaches out."""
    assert shutil.which("strace"), "strace is missing: apt-get install strace"
    calls = tmp_path / "calls"
    keys, address = Keys(tmp_path), "%s:%d" % bait.getsockname()
    daemon = serve(prefix=["strace", "-D", "-f", "-qq", "-e", "trace=%file,%network", "-e", "signal=none", "-o", calls], reactors=2, **keys.flags())
    assert str(keys.secret_file) in calls.read_text(), "the start was seen"
    # One that is good, so that nothing is left to be done for the first time.
    RawClient(daemon.address, good()).subscribe("user:u1")
    time.sleep(0.5)
    before, count = len(calls.read_text()), 0
    for token in attacks(keys, address):
        count += 1
        bring(daemon, token, count)
    # The daemon looks at itself each second.
    during = "".join(line for line in calls.read_text()[before:].splitlines(True) if '"/proc/self/' not in line and '""' not in line)
    assert count == len(FIELDS) * len(VALUES) * 2 + len(BAD_TOKENS) >= 292
    assert during.count("accept4(") >= count, "all threads are watched"
    assert {call for call in REACHES.findall(during)} == set(), during[:2000]
    with pytest.raises(BlockingIOError):
        bait.accept()
    # The same eyes see the daemon open files, where it does.
    daemon.metrics()
    wait_until(lambda: "openat" in REACHES.findall(calls.read_text()[before:]), "what is opened for a scrape is seen")


def bring(daemon, token, number):
    """One of the ways in; what the daemon says is no concern here, but that it answers."""
    if number % 3 == 0:
        with RawClient(daemon.address, None) as client:
            client.send(command(type="auth", id=1, token=token))
            client.next_frame()
    elif number % 3 == 1:
        with RawHttp(daemon.address) as raw:
            raw.send(upgrade_request(token))
            assert raw.response().status in (101, 401)
    else:
        protocols = f"tickerd.v1, bearer.{token}"
        with RawClient(daemon.address, None, Origin="https://app.example", Sec_WebSocket_Protocol=protocols) as client:
            opcode, payload = client.next_frame()
            assert opcode != CLOSE or int.from_bytes(payload[:2], "big") in (4001, 4300)
