"""Several issuers, and headers that ask to be followed."""

import errno
import os
import socket

import jwt
import pytest
from bad_tokens import HS256, Keys, by_hand, claims_of, good, segment
from harness import exchange, handshake_status, mint
from wire import upgrade_request

OURS, THEIRS = "an-hmac-secret-of-our-own-issuer-0123456789", "an-hmac-secret-of-the-partner-s-issuer-98765"


def jwks(kid, secret):
    return '{"keys":[{"kty":"oct","kid":"%s","k":"%s"}]}' % (kid, segment(secret.encode()))


@pytest.fixture
def two_issuers(serve, tmp_path):
    """Two issuers who both call their key `1`, by `[[issuer]]` alone."""
    (tmp_path / "ours.jwks").write_text(jwks("1", OURS))
    (tmp_path / "theirs.jwks").write_text(jwks("1", THEIRS))
    config = tmp_path / "tickerd.toml"
    config.write_text(f"""
[[issuer]]
iss = "us"
key = "{tmp_path}/ours.jwks"

[[issuer]]
iss = "them"
key = ["{tmp_path}/theirs.jwks"]
aud = "tickerd"
user_claim = ["uid"]
rooms_claim = "https://desk.example/rooms"
""")
    return serve(reactors=1, jwt_key=None, config=config)


def test_two_issuers_may_call_their_keys_alike(two_issuers):
    """AUT-01, AUT-04: each one's tokens are good by its own rules, and neither can speak for the other."""
    kid = {"kid": "1"}
    with two_issuers.connect(mint("u1", key=OURS, iss="us", headers=kid)) as client:
        assert client.welcome["data"]["user"] == "u1"
    rooms = {"https://desk.example/rooms": ["r:1"]}
    with two_issuers.connect(mint(None, key=THEIRS, iss="them", aud="tickerd", uid="u2", headers=kid, **rooms)) as client:
        assert client.welcome["data"]["user"] == "u2"
        client.subscribe("r:1")
    for bad in (
        mint("u1", key=THEIRS, iss="us", headers=kid),
        mint("u1", key=OURS, iss="them", aud="tickerd", uid="u2", headers=kid),
        mint("u1", key=OURS, headers=kid),
        mint(None, key=THEIRS, iss="them", uid="u2", headers=kid),
        mint("u1", key=THEIRS, iss="them", aud="tickerd", headers=kid),
        mint("u1", key=OURS, iss="us", headers={"kid": "2"}),
    ):
        assert handshake_status(two_issuers.address, bad) == 401


def test_no_header_is_followed(serve, tmp_path):
    """AUT-01: whatever `jku`, `x5u`, `jwk` or `kid` name, no connection is made and no file is opened for them."""
    keys = Keys(tmp_path)
    daemon = serve(reactors=1, **keys.flags())
    fifo = tmp_path / "key"
    os.mkfifo(fifo)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json"
        for place in (url, f"file://{fifo}", str(fifo), f"../../../../../../..{fifo}"):
            for header in (
                {"jku": place},
                {"x5u": place},
                {"kid": place},
                {"kid": place, "jku": place, "x5u": place, "jwk": {"kty": "oct", "k": "AAAA"}},
                {"jwk": {"kty": "RSA", "n": place, "e": "AQAB", "x5u": place}},
                {"x5c": [place], "x5t": place},
            ):
                forged = jwt.encode(claims_of(), keys.stranger, "RS256", headers=header)
                assert exchange(daemon.address, upgrade_request(forged)).status == 401
                ours = by_hand(HS256 | header, claims_of())
                assert exchange(daemon.address, upgrade_request(ours)).status == 101, "the key has no kid, and the rest is not looked at"
        with pytest.raises(BlockingIOError):
            listener.accept()
    with pytest.raises(OSError) as nobody_reads:
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    assert nobody_reads.value.errno == errno.ENXIO
    assert handshake_status(daemon.address, good()) == 101
