"""Escalation: of what a user does not acknowledge in time, a webhook is told: signed, once it takes it, and whatever it does."""

import base64
import hashlib
import hmac
import os
import signal
import socket
import ssl
import time

import pytest
from authorizer import Authorizer, send
from certificates import Authority
from harness import mint, wait_until
from test_acks import again, notification, told
from test_journal import House
from test_nodes import node, redis  # noqa: F401 (fixtures)

SECRET = base64.b64encode(os.urandom(32)).decode()
OTHER = base64.b64encode(os.urandom(24)).decode()


class Hook(Authorizer):
    """A webhook: a real HTTP server whose behaviour a test chooses. `told` are the ids of what it was told."""

    def __init__(self, behave=None, context=None):
        super().__init__(behave or (lambda handler, _: send(handler, b"")), context)
        self.url = self.url.replace("/may-join?x=1", "/escalations?key=1")

    @property
    def told(self):
        return [headers["webhook-id"] for _, headers, _ in self.requests]


@pytest.fixture
def hooked(serve, tmp_path):
    """Starts a webhook that behaves so, and a daemon that tells it after a second."""
    hooks = []

    def start(behave=None, context=None, **flags):
        hook = Hook(behave, context)
        hooks.append(hook)
        daemon = serve(**({"reactors": 1} | hooking(tmp_path, hook) | flags))
        daemon.hook = hook
        return daemon

    yield start
    for hook in hooks:
        hook.stop()


def hooking(path, hook, *secrets):
    file = path / "webhook.secret"
    file.write_text("".join(f"whsec_{secret}\n" for secret in secrets or [SECRET]))
    file.chmod(0o600)
    return {"webhook_url": hook.url, "webhook_secret_file": file, "escalate_after": "1s"}


def signatures(headers, raw, *secrets):
    """What the header must say, by another implementation than ours."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
    return " ".join("v1," + base64.b64encode(hmac.new(base64.b64decode(secret), signed, hashlib.sha256).digest()).decode() for secret in secrets)


def escalations(daemon, result):
    return daemon.metrics()[f'tickerd_escalations_total{{result="{result}"}}']


def test_what_is_not_acknowledged_in_time_is_told_once_and_signed(hooked):
    """FUT-02, QTE-12: with what the user got; and the user goes on being given it until it is acknowledged."""
    daemon = hooked()
    client = daemon.connect(mint("ann"))
    client.subscribe("user:ann")
    daemon.publish(notification("late", "ann", data={"user_id": "ann", "text": 'ä "quoted" \\ text'}), notification("in-time", "ann"))
    frames = [client.recv(), client.recv()]
    assert client.request(type="ack", event_id="in-time")["type"] == "ok"
    wait_until(lambda: daemon.hook.told == ["user:ann/late"], "the webhook is told")
    path, headers, body = daemon.hook.requests[0]
    assert (path, headers["content-type"]) == ("/escalations?key=1", "application/json")
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert body["type"] == "event.unacknowledged" and body["data"]["event"] == frames[0]
    expected = {"event_id": "late", "room": "user:ann", "user": "ann", "ts": frames[0]["ts"], "until": frames[0]["ts"] + 168 * 3600 * 1000}
    assert {name: value for name, value in body["data"].items() if name != "event"} == expected
    assert headers["webhook-signature"] == signatures(headers, daemon.hook.bodies[0], SECRET)
    wait_until(lambda: [kind for kind, _ in told(daemon)] == ["event.acknowledged", "event.escalated"], "the publisher's side hears of it")
    data = told(daemon)[1][1]
    assert (data["event_id"], data["user"], data["published"]) == ("late", "ann", frames[0]["ts"])
    assert again(daemon, "ann") == ["late"]
    assert client.request(type="ack", event_id="late")["type"] == "ok"
    assert again(daemon, "ann") == []
    wait_until(lambda: escalations(daemon, "told") == 1, "it is counted")
    assert (escalations(daemon, "failed"), daemon.metrics()["tickerd_escalations_untold"], len(daemon.hook.requests)) == (0, 0, 1)
    assert SECRET not in daemon.stderr()


def test_no_user_has_anothers_id(hooked):
    """One who compares `webhook-id`s must not take one user's event for another's, though publishers name both alike."""
    daemon = hooked()
    daemon.publish(notification("n1", "ann"), notification("n1", "bob"))
    wait_until(lambda: sorted(daemon.hook.told) == ["user:ann/n1", "user:bob/n1"], "both are told")


def test_while_a_secret_is_replaced_both_sign(hooked, tmp_path):
    """SIGHUP takes the file's secrets on; a bad file changes nothing."""
    daemon = hooked()
    hooking(tmp_path, daemon.hook, OTHER, SECRET)
    for text, result in ((None, "applied"), ("hush", "refused")):
        if text:
            (tmp_path / "webhook.secret").write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda result=result: daemon.metrics()[f'tickerd_reloads_total{{result="{result}"}}'] == 1, result)
    daemon.publish(notification("n1"))
    wait_until(lambda: daemon.hook.requests, "it is told")
    _, headers, _ = daemon.hook.requests[0]
    assert headers["webhook-signature"] == signatures(headers, daemon.hook.bodies[0], OTHER, SECRET)


@pytest.mark.parametrize("fault", ["status", "redirect", "hangs", "garbage", "closes"])
def test_it_is_told_again_until_it_takes_it(hooked, fault):
    """FUT-02, X09: with pauses, under the same id and with the same body; redirects are not followed. Nobody else waits for it meanwhile."""
    broken = True

    def behave(handler, _):
        if not broken:
            return send(handler, b"", 204)
        if fault == "status":
            return send(handler, b"no", 500)
        if fault == "redirect":
            return send(handler, b"", 307, Location=daemon.hook.url + "&again")
        if fault == "hangs":
            return daemon.hook.release.wait(30)
        if fault == "garbage":
            handler.wfile.write(b"nothing of HTTP\r\n\r\n")
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    daemon = hooked(behave)
    client = daemon.member("user:u1", token=mint("u1"))
    daemon.publish(notification("n1"))
    assert client.recv()["event_id"] == "n1"
    wait_until(lambda: escalations(daemon, "failed") >= (1 if fault == "hangs" else 2), "it is tried again", 40)
    assert daemon.metrics()["tickerd_escalations_untold"] == 1
    daemon.publish(notification("n2", "u2"))
    assert again(daemon, "u2") == ["n2"], "others do not wait"
    assert len(set(daemon.hook.told) - {"user:u2/n2"}) == 1 and all("again" not in path for path, _, _ in daemon.hook.requests)
    broken = False
    daemon.hook.release.set()
    wait_until(lambda: escalations(daemon, "told") == 2, "in the end it is told", 40)
    assert len({body for body in daemon.hook.bodies if b'"n1"' in body}) == 1, "the same each time"
    wait_until(lambda: sorted(data["event_id"] for kind, data in told(daemon) if kind == "event.escalated") == ["n1", "n2"], "each is told of once")


def test_an_endless_answer_is_an_answer(hooked):
    """Only its status counts; no more than 64 KiB of the rest are read."""
    sent = []

    def behave(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)
            sent.append(1)

    daemon = hooked(behave)
    daemon.publish(notification("n1"))
    wait_until(lambda: escalations(daemon, "told") == 1, "it has taken it")
    time.sleep(0.2)
    count = len(sent)
    time.sleep(0.2)
    assert len(sent) == count < 200, "the daemon has hung up"


def test_after_failures_it_rests_and_says_so(hooked):
    """OBS-10: health, alert, metric and log; what is acknowledged while it rests is not told any more; one try shows that it is back."""
    broken = True
    daemon = hooked(lambda handler, _: send(handler, b"", 503 if broken else 200))
    operator = daemon.connect(mint("op", rooms=["system:alerts"]))
    operator.subscribe("system:alerts")
    daemon.publish(*[notification(f"n{n}") for n in range(8)])
    wait_until(lambda: daemon.metrics()["tickerd_webhook_breaker"] == 1, "the breaker opens")
    alert = operator.recv_type("system_alert", 15)
    assert (alert["data"]["alert"], alert["data"]["state"]) == ("component_down", "firing")
    component = f'tickerd_component_up{{component="webhook"}}'
    assert daemon.metrics()[component] == 0
    assert 0 < len(daemon.hook.requests) <= 8
    with daemon.connect(mint("u1")) as client:
        for n in range(7):
            assert client.request(type="ack", event_id=f"n{n}")["type"] == "ok"
    seen = len(daemon.hook.requests)
    broken = False
    wait_until(lambda: escalations(daemon, "told") == 1, "it is back", 30)
    assert set(daemon.hook.told[seen:]) == {"user:u1/n7"}
    wait_until(lambda: daemon.metrics()[component] == 1, "and health says so", 15)
    assert "webhook_failed" in daemon.stderr()


def test_the_journal_keeps_what_is_to_be_told(tmp_path):
    """What was due while nobody could be told is told by the next daemon; what was told is not told again, nor what was acknowledged."""
    broken = True
    hook, house = Hook(lambda handler, _: send(handler, b"", 503 if broken else 200)), House(tmp_path)
    try:
        flags = hooking(tmp_path, hook)
        daemon = house.start(**flags)
        daemon.publish(*[notification(f"n{n}") for n in range(3)])
        wait_until(lambda: len(set(hook.told)) == 3, "all were tried")
        with daemon.connect(mint("u1")) as client:
            assert client.request(type="ack", event_id="n1")["type"] == "ok"
        seen = len(hook.requests)
        broken = False
        daemon = house.restart(**flags)
        wait_until(lambda: escalations(daemon, "told") == 2, "they are told")
        assert sorted(hook.told[-2:]) == ["user:u1/n0", "user:u1/n2"]
        wait_until(lambda: len([kind for kind, _ in told(daemon) if kind == "event.escalated"]) == 2, "and the publisher's side hears of it")
        daemon.publish(notification("fence"))  # durable, so that all before it is
        assert len(hook.requests) >= seen + 2
        count = len([id for id in hook.told if "fence" not in id])
        daemon = house.restart(**flags)
        wait_until(lambda: "user:u1/fence" in hook.told, "what comes later is told")
        assert len([id for id in hook.told if "fence" not in id]) == count, "what was told is not told again"
        assert again(daemon) == ["n0", "n2", "fence"]
    finally:
        house.end()
        hook.stop()


def test_nobody_listens(hooked):
    """FUT-02: a port on which nobody is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        daemon = hooked(webhook_url=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        daemon.publish(notification("n1"))
        wait_until(lambda: escalations(daemon, "failed") >= 2, "it is tried again", 20)


def test_https_is_checked(hooked, tmp_path):
    """AUT-09: by the authorities of --webhook-ca alone."""
    (tmp_path / "other").mkdir()
    ours, other = Authority(tmp_path), Authority(tmp_path / "other")
    for authority, is_told in ((ours, True), (other, False)):
        certificate, key, _ = authority.issue()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        daemon = hooked(context=context, webhook_ca=ours.file)
        daemon.publish(notification("n1"))
        wait_until(lambda daemon=daemon, is_told=is_told: escalations(daemon, "told" if is_told else "failed") >= 1, "it is tried")
        assert bool(daemon.hook.requests) == is_told


def test_over_several_nodes_one_id(node, tmp_path):  # noqa: F811
    """FUT-02, SCL-01: whichever node was first, the others hear of it; a node that begins later does not tell it anew; one that is alone goes on."""
    hook = Hook()
    try:
        flags = hooking(tmp_path, hook)
        nodes = [node(**flags) for _ in range(3)]  # noqa: F811
        nodes[0].publish(notification("n1", "u2"))  # whose shard a node reads before that of system:acks
        wait_until(lambda: "event.escalated" in [kind for kind, _ in told(nodes[2])], "all hear of it", 30)
        late = node(**flags)
        wait_until(lambda: late.metrics()["tickerd_unacknowledged"] == 1, "it knows of what waits", 30)
        time.sleep(8)  # longer than a node that begins waits at most, for others' words and by chance
        assert set(hook.told) == {"user:u2/n1"} and 1 <= len(hook.told) <= 3, "a node that had begun already may tell it too"
        assert escalations(late, "told") == 0
        for daemon in nodes[:2]:
            daemon.process.kill()
            daemon.process.wait()
            daemon.process.returncode = 0  # it was to end so
        nodes[2].publish(notification("n2"))
        wait_until(lambda: "user:u1/n2" in hook.told, "the others tell what comes later", 30)
    finally:
        hook.stop()
