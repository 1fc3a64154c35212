"""Redis behind TLS, and what it wants to see of a node."""

import os
import subprocess

import pytest
from certificates import Authority
from harness import BINARY, SECRET, mint, note, wait_until
from redis_server import RedisServer, free_port

PASSWORD = "a-password-of-the-test-house"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def redis(tmp_path, authority):
    certificate, key, _ = authority.issue("redis")
    tls = {"tls_port": free_port(), "tls_cert_file": certificate, "tls_key_file": key, "tls_ca_cert_file": authority.file}
    server = RedisServer(tmp_path / "redis", **tls, tls_auth_clients="yes")
    server.tls_url = f"rediss://127.0.0.1:{tls['tls_port']}"
    yield server
    server.end()


@pytest.fixture
def identity(tmp_path, authority):
    """One file with certificate and key."""
    certificate, key, _ = authority.issue("node")
    file = tmp_path / "node-identity.pem"
    file.touch(mode=0o600)
    file.write_bytes(certificate.read_bytes() + key.read_bytes())
    return file


def test_nodes_meet_over_tls(serve, redis, authority, identity):
    """SCL-08: both sides show a certificate; events and streams come that way."""
    flags = {"redis": redis.tls_url, "redis_ca": authority.file, "redis_cert": identity, "ingest_stream": "orders", "reactors": 1}
    a, b = serve(**flags), serve(**flags)
    member = b.member("r:1", token=mint(rooms=["*"]))
    a.publish(note("r:1", data="from a"))
    assert member.recv()["data"] == "from a"
    wait_until(lambda: a.metrics()["tickerd_ingest_streams"] + b.metrics()["tickerd_ingest_streams"] == 1, "one has the lease")
    redis.ask("XADD", "orders", "*", "event", '{"type":"x.y","room":"r:1","lane":"alert","mode":"stream","data":"by the stream"}')
    assert member.recv()["data"] == "by the stream"


@pytest.mark.parametrize("wrong", ["plain", "no-ca", "another-ca", "no-identity", "no-pem", "no-file"])
def test_what_does_not_fit_is_refused_at_the_start(redis, authority, identity, tmp_path, wrong):
    """ERR-02: exit code 1, and a sentence that names Redis; nothing is trusted by mistake."""
    (tmp_path / "other").mkdir()
    (tmp_path / "nothing.pem").write_text("nothing")
    other = {
        "plain": {"redis": redis.tls_url.replace("rediss", "redis")},
        "no-ca": {"redis_ca": None},
        "another-ca": {"redis_ca": Authority(tmp_path / "other").file},
        "no-identity": {"redis_cert": None},
        "no-pem": {"redis_ca": tmp_path / "nothing.pem"},
        "no-file": {"redis_ca": tmp_path / "none.pem"},
    }[wrong]
    flags = {"redis": redis.tls_url, "redis_ca": authority.file, "redis_cert": identity} | other
    key = tmp_path / "jwt.key"
    key.write_text(SECRET)
    command = [BINARY, "serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", f"--jwt-key={key}"]
    command += [f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items() if value]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKERD_")}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert ended.returncode in (1, 2) and ended.stdout == "", ended
    last = ended.stderr.strip().splitlines()[-1]
    assert ("Redis" in last or "--redis-c" in last) and "panicked" not in ended.stderr, ended.stderr
