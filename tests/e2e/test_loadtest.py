"""`tickerd loadtest` against the real daemon: what it counts is what was sent, what it times is what happened, and what fails is said."""

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import time

import pytest

from harness import BINARY, PATIENCE_S, Daemon, wait_until
from hdr import Histogram

MS = 1_000_000
FAULTS = {"missing": 0, "duplicate": 0, "disorder": 0, "misrouted": 0, "corrupt": 0, "stale": 0, "closed": 0}


def scenario(directory, *, flows, connections=20, rooms=1, members=None, name="own", seconds=2.0, extra=""):
    """A scenario file: one class of rooms, and flows of (lane, mode, rate)."""
    members = connections if members is None else members
    tables = "".join(
        f'[[flow]]\nrooms = "room"\ntype = "lt.{lane}"\nlane = "{lane}"\nmode = "{mode}"\nrate = {rate}\nbytes = 300\n' for lane, mode, rate in flows
    )
    path = directory / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\nabout = "For a test."\nduration_s = {seconds}\n[connections]\ncount = {connections}\nrate = 1000\n'
        f'[[room]]\nclass = "room"\nname = "lt-{name}:{{n}}"\ncount = {rooms}\nmembers = {members}\n{tables}{extra}'
    )
    return path


def command(daemon, *arguments, key=None):
    url = "ws://%s:%d/v1/ws" % daemon.address
    return [str(part) for part in (BINARY, "loadtest", *arguments, "--url", url, "--key", key or daemon.key_file, "--quiet")]


def loadtest(daemon, *arguments, code=0, key=None):
    """A run to its end: its record (or, for a run that must fail, what it said)."""
    ended = subprocess.run(command(daemon, *arguments, "--json", key=key), capture_output=True, timeout=PATIENCE_S)
    stderr = ended.stderr.decode()
    assert ended.returncode == code, f"exit code {ended.returncode}: {stderr}"
    return json.loads(ended.stdout) if ended.stdout else stderr


def lane_flows(record, lane):
    return [flow for flow in record["windows"][0]["flows"] if flow["lane"] == lane]


@pytest.mark.parametrize("transport", ["unix", "websocket"])
def test_a_smoke_run_loses_nothing(daemon1, transport):
    """TST-03: every lane and mode; what was published to `stream` rooms is what arrived, once for each member."""
    record = loadtest(daemon1, "smoke", "--duration", "2s", *(["--publish-socket", daemon1.socket_path] if transport == "unix" else []))
    connect, totals, flows = record["connect"], record["totals"], record["windows"][0]["flows"]
    assert (connect["joined"], connect["failed"], totals["faults"]) == (50, {}, FAULTS)
    assert totals["answers"] == {"accepted": totals["published"]}
    members = {room["class"]: room["members"] for room in record["scenario"]["room"]}
    for flow, asked in zip(flows, record["scenario"]["flow"], strict=True):
        due = asked["rate"] * record["windows"][0]["seconds"]
        assert abs(flow["published"] - due) <= asked["burst"] + 1, flow
        expected = flow["published"] * members[flow["class"]]
        assert flow["received"] == expected if asked["mode"] == "stream" else 0 < flow["received"] <= expected, flow
        assert Histogram(flow["latency"]).total == flow["received"]
    assert totals["expected"] > 0 and totals["received"] >= totals["expected"]
    assert totals["apart"] == {"slow_owed": 0, "slow_came": 0, "slow_told": 0, "absent_owed": 0}
    assert all(verdict["holds"] for verdict in record["verdicts"]) and len(record["verdicts"]) == 5
    assert record["server"]["pid"] == daemon1.process.pid and record["server"]["rss_joined_bytes"] > 0
    assert sum(second["received"] for second in record["seconds"]) <= totals["received"]


def test_what_does_not_hold_fails_the_run(daemon1):
    """PRF-17: the exit code tells; the table says which."""
    ended = subprocess.run(command(daemon1, "smoke", "--duration", "400ms", "--warmup", "0s", "--slo", "alert.p50<1ns"), capture_output=True, timeout=PATIENCE_S)
    assert ended.returncode == 1
    assert re.search(r"1 of 6 requirements do not hold: alert\.p50<1ns: [\d.]+ .s", ended.stderr.decode()), ended.stderr.decode()
    assert "FAIL" in ended.stdout.decode() and "PASS" in ended.stdout.decode()


def test_a_stopped_server_is_charged_for_all_that_waited(serve, tmp_path):
    """Coordinated omission: 200 ms of SIGSTOP delay every event that was due in them, and the percentiles say so. The rate is such that
    the publish socket is full before the stop is over: what could not even be sent is charged too."""
    daemon = serve(reactors=1)
    rate, seconds, stop_s, seen_ms = 4000, 3.0, 0.2, 100
    path = scenario(tmp_path, flows=[("alert", "stream", rate)], connections=2, seconds=seconds)
    run = subprocess.Popen(command(daemon, "--file", path, "--json", "--publish-socket", daemon.socket_path), stdout=subprocess.PIPE)
    try:
        wait_until(lambda: daemon.metric("tickerd_delivery_seconds_count") > rate, "events arrive")
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(stop_s)
        daemon.process.send_signal(signal.SIGCONT)
        stopped_s = time.monotonic() - began
        out, _ = run.communicate(timeout=PATIENCE_S)
    finally:
        run.kill()
    record = json.loads(out)
    (flow,) = record["windows"][0]["flows"]
    latency = Histogram(flow["latency"])
    assert record["totals"]["faults"] == FAULTS and flow["received"] == flow["published"] * 2
    assert latency.max >= (stop_s - 0.01) * 1e9
    share = latency.share_above(seen_ms * MS)
    expected = (stop_s - seen_ms / 1000) * rate / flow["published"]
    # A machine with other work to do adds delay; it never takes any away.
    assert 0.9 * expected <= share <= 3 * (stopped_s - seen_ms / 1000) * rate / flow["published"] + 0.1, (share, expected)


def test_figures_agree_with_the_servers_own(daemon1, tmp_path):
    """The definition in README: the server's time is a part of the service time. Counts are equal; means and percentiles are not above ours."""
    path = scenario(tmp_path, flows=[("alert", "stream", 50), ("update", "stream", 200), ("metric", "stream", 100)], rooms=2, members=10)
    before = daemon1.metrics()
    record = loadtest(daemon1, "--file", path, "--publish-socket", daemon1.socket_path)
    after = daemon1.metrics()
    moved = {name: after[name] - before.get(name, 0) for name in after if name.startswith("tickerd_delivery_seconds")}
    for lane in ("alert", "update", "metric"):
        (flow,) = lane_flows(record, lane)
        service, count = Histogram(flow["service"]), moved[f'tickerd_delivery_seconds_count{{lane="{lane}"}}']
        assert count == flow["received"] == service.total == flow["published"] * 10 > 0, lane
        mean = moved[f'tickerd_delivery_seconds_sum{{lane="{lane}"}}'] / count
        assert mean * 1e9 <= service.mean * 1.001, (lane, mean, service.mean)
        for share in (0.5, 0.9, 0.99):
            assert bucket_below(moved, lane, share * count) * 1e9 <= service.quantile(share) * 1.001, (lane, share)


def bucket_below(moved, lane, rank):
    """The lower end of the bucket that has the delivery of that rank."""
    buckets = [(float(match[1]), count) for name, count in moved.items() if (match := re.search(rf'_bucket{{lane="{lane}",le="([\d.e-]+)"', name))]
    lower = 0.0
    for bound, count in sorted(buckets):
        if count >= rank:
            return lower
        lower = bound
    return lower


def test_mass_disconnects_lose_nothing(daemon1, tmp_path):
    """DLV-14: half of the connections drop every 0.7 s and come back with their positions, while events go on."""
    storm = "[storm]\nshare = 0.5\nevery_s = 0.7\nreconnect_rate = 1000\n"
    path = scenario(tmp_path, flows=[("update", "stream", 200)], connections=40, rooms=40, members=1, extra=storm)
    record = loadtest(daemon1, "--file", path)
    totals = record["totals"]
    assert (totals["faults"], totals["told_missing"]) == (FAULTS, 0)
    assert totals["received"] == totals["expected"] == totals["published"]
    assert totals["recovered"] in (42, 63) and totals["not_recovered"] == 0, totals
    assert Histogram(totals["reconnect_us"]).total == totals["recovered"]


def test_slow_readers_are_charged_alone(daemon1, tmp_path):
    """DLV-20: one in ten reads a twentieth of what comes; the others miss nothing, and the run does not wait for the slow ones."""
    slow = "[slow]\nshare = 0.1\nbytes_per_s = 3000\n"
    path = scenario(tmp_path, flows=[("update", "stream", 200)], connections=200, rooms=1, seconds=1.5, extra=slow)
    record = loadtest(daemon1, "--file", path)
    (flow,) = record["windows"][0]["flows"]
    assert record["totals"]["faults"] == FAULTS
    assert Histogram(flow["latency"]).total == flow["published"] * (200 - 20), "the slow ones are not timed"
    apart, totals = record["totals"]["apart"], record["totals"]
    assert apart["slow_owed"] == totals["published"] * 20 and apart["slow_came"] + apart["slow_told"] < apart["slow_owed"]
    assert totals["expected"] - totals["received"] == apart["slow_owed"] - apart["slow_came"], "every delivery is accounted for"


def test_a_ramp_searches_and_says_why_a_step_failed(daemon1, tmp_path):
    """PRF-03: nothing holds a bound of a nanosecond, so that one halving follows the first step, and the run fails."""
    ramp = '[ramp]\nfrom = 1\ngrow = 2\nstep_s = 0.5\nhalvings = 1\nbound = ["all.p99<{}"]\n'
    path = scenario(tmp_path, flows=[("update", "stream", 100)], extra=ramp.format("1ns"))
    record = loadtest(daemon1, "--file", path, code=1)
    assert [window["factor"] for window in record["windows"]] == [1, 0.5]
    assert all(window["held"] is False and window["because"] for window in record["windows"]), record["windows"]
    assert [verdict["measured"] for verdict in record["verdicts"]] == ["no step held"]


def test_idle_connections_are_weighed(daemon1):
    """PRF-10: no events at all; memory for each connection, and processor time."""
    record = loadtest(daemon1, "idle", "--connections", "200", "--duration", "1s", "--slo", "server.rss_per_connection<64KiB")
    server = record["server"]
    assert record["connect"]["joined"] == 200 and record["totals"]["faults"] == FAULTS
    assert 0 < server["rss_before_bytes"] <= server["rss_joined_bytes"] <= server["rss_max_bytes"]
    assert record["windows"][0]["server_cpu_s"] is not None


def begun(daemon, *arguments):
    """A run of an hour in which events arrive."""
    run = subprocess.Popen(command(daemon, *arguments, "--duration", "1h"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        before = daemon.metric("tickerd_delivery_seconds_count")
        wait_until(lambda: daemon.metric("tickerd_delivery_seconds_count") > before + 2000, "events arrive", PATIENCE_S)
    except BaseException:
        run.kill()
        raise
    return run


def ended(run):
    """Its exit code, and what it said."""
    try:
        out, err = run.communicate(timeout=PATIENCE_S)
    finally:
        run.kill()
    return run.returncode, out.decode(), err.decode()


def marked(directory, text):
    """That text is in every file but the series, whose last row says that it is the last of a part."""
    files = {path.name: path.read_text() for path in directory.iterdir()}
    assert {"record.json", "alert.hgrm", "update.hgrm", "metric.hgrm", "run.hlog", "seconds.csv", "percentiles.svg"} <= set(files)
    cut = json.loads(files["record.json"])["cut"]
    assert files["seconds.csv"].splitlines()[-1].split(",")[1] == "cut"
    for name in set(files) - {"record.json", "seconds.csv"}:
        assert text in files[name].replace("\n", " "), (name, files[name][:2000])
    return cut


def test_ctrl_c_ends_a_run_with_what_there_is_and_passes_nothing(daemon1, tmp_path):
    """An exit code of its own, the figures so far, and every file says that they are of a part."""
    run = begun(daemon1, "smoke", "--out", tmp_path / "cut")
    run.send_signal(signal.SIGINT)
    code, out, err = ended(run)
    (text,) = set(re.findall(r"interrupted after [\d.]+ of 3600 s", out + err))
    assert code == 130 and text in err, err
    assert "PASS" not in out and re.search(rf"FAIL +the whole run +measured {text}", out) and "so far" in out, out
    assert re.search(r"^FAULTS|^faults +none", out, re.MULTILINE) and "p99.9" in out
    cut = marked(tmp_path / "cut", text)
    assert cut["cause"] is None and 0 < cut["measured_s"] < 60 and cut["wanted_s"] == 3600
    record = json.loads((tmp_path / "cut/record.json").read_text())
    assert record["totals"]["faults"] == FAULTS and 0 < record["windows"][0]["seconds"] < 60
    compared = subprocess.run([BINARY, "loadtest", "compare", tmp_path / "cut", tmp_path / "cut"], capture_output=True, check=True).stdout.decode()
    assert compared.count(text) >= 4 and "run A is not whole" in compared, compared


def test_ctrl_c_while_connecting_is_told(serve, tmp_path):
    daemon = serve(reactors=1)
    run = subprocess.Popen(
        command(daemon, "smoke", "--connect-rate", "1", "--out", tmp_path / "cut"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip
    # The publisher's and two more.
    wait_until(lambda: daemon.metric('tickerd_connections{kind="websocket"}') >= 3, "some are connected", PATIENCE_S)
    run.send_signal(signal.SIGINT)
    code, out, err = ended(run)
    assert code == 130 and "interrupted after 0 of 3 s" in err and "Nothing was measured" in out, err + out
    assert json.loads((tmp_path / "cut/record.json").read_text())["connect"]["joined"] >= 1


@pytest.fixture
def mortal(tmp_path):
    """A daemon that need not end cleanly."""
    daemon = Daemon(tmp_path / "mortal", reactors=1)
    yield daemon
    daemon.process.kill()
    daemon.process.wait()
    daemon.process.stdout.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(daemon.socket_path)


@pytest.mark.parametrize("transport", ["unix", "websocket"])
def test_a_server_that_dies_leaves_what_was_measured(mortal, tmp_path, transport):
    """What was measured until then is reported and kept, with the cause; the run has failed."""
    socket = ["--publish-socket", mortal.socket_path] if transport == "unix" else []
    run = begun(mortal, "smoke", "--out", tmp_path / "cut", *socket)
    mortal.process.kill()
    code, out, err = ended(run)
    assert code == 1 and re.search(rf"cut short after [\d.]+ of 3600 s: .* the server's process, {mortal.process.pid}, has ended", err), err
    assert "p99.9" in out and "PASS" not in out, out
    cut = marked(tmp_path / "cut", "cut short after")
    assert "publisher's connection" in cut["cause"] and cut["measured_s"] > 0
    record = json.loads((tmp_path / "cut/record.json").read_text())
    totals, windows = record["totals"], record["windows"]
    assert totals["received"] > 2000 and sum(flow["received"] for flow in windows[0]["flows"]) > 0
    assert sum(second["received"] for second in record["seconds"]) > 0
    assert totals["answers"]["accepted"] + totals["answers"].get("unanswered", 0) == totals["published"]
    assert totals["faults"]["closed"] == 50, "each of its connections was lost"


def test_an_idle_run_ends_with_its_server(mortal):
    """Nobody publishes, and still it is noticed."""
    run = subprocess.Popen(
        command(mortal, "idle", "--connections", "20", "--duration", "1h"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip
    wait_until(lambda: mortal.metric('tickerd_connections{kind="websocket"}') == 20, "they are connected", PATIENCE_S)
    mortal.process.kill()
    code, _, err = ended(run)
    assert code == 1 and f"the server's process, {mortal.process.pid}, has ended" in err, err


def test_a_handful_of_connections_is_as_fast_as_it_is(daemon1, tmp_path):
    """PRF-17: the rate is of real times, not of how often a worker tells how far it is."""
    record = loadtest(daemon1, "--file", scenario(tmp_path, flows=[], connections=5, seconds=0.2))
    connect = record["connect"]
    slowest_s = Histogram(connect["took_us"]).max / 1e6
    assert connect["joined"] == 5
    assert slowest_s * 0.99 <= connect["seconds"] <= 4 / 1000 + slowest_s * 1.01 + 0.05, (connect["seconds"], slowest_s)


def test_what_flags_scaled_is_said(daemon1):
    """The scenario's sentence has the original sizes; the title has those that were run."""
    ended = subprocess.run(
        command(daemon1, "broadcast", "--connections", "10", "--duration", "300ms", "--warmup", "0s"), capture_output=True, timeout=PATIENCE_S
    )  # fmt: skip
    title, about, scaled = ended.stdout.decode().splitlines()[:3]
    assert title.startswith("broadcast, 10 connections · ") and "1,000 members" in about
    assert scaled == "SCALED by flags: 10 connections instead of 1,000; 10 members in each shared room instead of 1,000."


def test_refused_publishes_are_told_with_the_servers_words(daemon1, tmp_path):
    """A flow of which everything is refused: the verdict says why nothing arrived."""
    path = scenario(tmp_path, flows=[("alert", "stream", 50), ("update", "stream", 50)], seconds=0.5)
    text = path.read_text().replace('about =', 'slo = ["alert.p99<10s", "refused<=0"]\nabout =')
    # The catalog has another lane for this type.
    path.write_text(text.replace('type = "lt.alert"', 'type = "TRADE_EXECUTED"'))
    said = subprocess.run(command(daemon1, "--file", path), capture_output=True, timeout=PATIENCE_S)
    err, out = said.stderr.decode(), said.stdout.decode()
    assert said.returncode == 1
    assert re.search(r"alert\.p99<10s: nothing arrived in lane alert: the server refused \d+ of its publishes, the last one with: .*catalog", err), err
    assert "the last refusal: " in out and "catalog_conflict" in out, out


def test_a_used_daemon_is_no_measure_of_memory(serve):
    """PRF-10: connections that it has already are seen, and the figure is marked."""
    daemon = serve(reactors=1)
    arguments = ("idle", "--connections", "20", "--duration", "100ms", "--slo", "server.rss_per_connection<1GiB")
    clean = json.loads(subprocess.run(command(daemon, *arguments, "--json"), capture_output=True, timeout=PATIENCE_S).stdout)
    with daemon.connect():
        used = subprocess.run(command(daemon, *arguments), capture_output=True, timeout=PATIENCE_S).stdout.decode()
    assert clean["server"]["used_before"] == ""
    assert "it had 1 connections before: start it anew" in used and "(of a server that had been in use: start it anew)" in used, used
    assert "Latency" not in used, "nothing was sent"


def test_records_are_kept_and_compared(daemon1, tmp_path):
    """Files of two runs, and the two side by side."""
    for name in ("a", "b"):
        loadtest(daemon1, "smoke", "--duration", "400ms", "--warmup", "0s", "--out", tmp_path / name)
    files = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"record.json", "alert.hgrm", "update.hgrm", "metric.hgrm", "run.hlog", "seconds.csv", "percentiles.svg"} <= files
    compared = subprocess.run([BINARY, "loadtest", "compare", tmp_path / "a", tmp_path / "b/record.json"], capture_output=True, timeout=PATIENCE_S)
    assert compared.returncode == 0 and "alert" in compared.stdout.decode(), compared.stderr.decode()
    ended = subprocess.run(command(daemon1, "smoke", "--out", tmp_path / "a"), capture_output=True, timeout=PATIENCE_S)
    assert ended.returncode == 2 and "is not empty" in ended.stderr.decode(), "results are never overwritten"


@pytest.fixture
def terminated(daemon1, tmp_path):
    """The daemon behind something that takes TLS off: its URL, and the certificate."""
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=tickerd-test"]
        + ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def copy(reader, writer):
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while some := await reader.read(65536):
                writer.write(some)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        plain_reader, plain_writer = await asyncio.open_connection(*daemon1.address)
        await asyncio.gather(copy(reader, plain_writer), copy(plain_reader, writer))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield "wss://127.0.0.1:%d/v1/ws" % server.sockets[0].getsockname()[1], certificate

    async def end():
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def over_tls(daemon, terminated, *arguments):
    url, certificate = terminated
    line = [str(part) for part in (BINARY, "loadtest", "smoke", "--duration", "1s", "--url", url, "--key", daemon.key_file, "--quiet", "--json", *arguments)]
    return subprocess.run(line, capture_output=True, timeout=PATIENCE_S)


def test_a_run_over_tls_loses_nothing(daemon1, terminated):
    """Publisher and members with TLS; the server's figures are of its process still, the generator's include what TLS costs."""
    ended = over_tls(daemon1, terminated, "--ca", terminated[1])
    assert ended.returncode == 0, ended.stderr.decode()
    record = json.loads(ended.stdout)
    totals = record["totals"]
    assert (record["connect"]["joined"], record["connect"]["failed"], totals["faults"]) == (50, {}, FAULTS)
    assert totals["answers"] == {"accepted": totals["published"]} and totals["received"] >= totals["expected"] > 0
    assert record["target"].startswith("wss://") and record["generator"]["cpu_s"] > 0


def test_a_certificate_that_is_not_trusted_is_told(daemon1, terminated):
    """Without `--ca` the system's roots count, and this is none of theirs."""
    ended = over_tls(daemon1, terminated)
    assert ended.returncode in (1, 2) and "--ca" in ended.stderr.decode(), ended.stderr.decode()


def test_scenarios_can_be_listed_and_shown(tmp_path):
    """CLI: what `show` prints is a scenario file."""
    listed = subprocess.run([BINARY, "loadtest", "list"], capture_output=True, check=True).stdout.decode().splitlines()
    assert {"full", "desk", "broadcast", "smoke"} <= {line.split()[0] for line in listed}
    shown = subprocess.run([BINARY, "loadtest", "show", "smoke"], capture_output=True, check=True).stdout.decode()
    assert shown.startswith("# ") and 'name = "smoke"' in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give a scenario: full, desk"),
        (("nosuch",), "no scenario is called `nosuch`; there are full, desk"),
        (("smoke", "--no-such-flag"), "unexpected argument '--no-such-flag'"),
        (("smoke", "--slo", "alarm.p99<1ms"), "there is alert.p99"),
        (("smoke",), "give --key FILE"),
        (("smoke", "--connections", "-5"), "give a whole number from 1 on"),
        (("smoke", "--pin", "999"), "this machine has "),
        (("show", "nosuch"), "no scenario is called `nosuch`"),
        (("compare", "/nonexistent", "/nonexistent"), "/nonexistent"),
    ],
)
def test_bad_usage_is_told(arguments, told):
    ended = subprocess.run([BINARY, "loadtest", *arguments], capture_output=True, timeout=PATIENCE_S)
    assert ended.returncode == 2 and told in ended.stderr.decode(), ended.stderr.decode()


def test_a_server_that_is_not_there_is_told(tmp_path):
    key = tmp_path / "some.key"
    key.write_text("a secret of more than thirty-two bytes")
    ended = subprocess.run(
        [BINARY, "loadtest", "smoke", "--url", "ws://127.0.0.1:1/v1/ws", "--key", key], capture_output=True, timeout=PATIENCE_S
    )  # fmt: skip
    assert ended.returncode == 1 and "is the daemon running there?" in ended.stderr.decode(), ended.stderr.decode()


@pytest.mark.parametrize("transport", ["unix", "websocket"])
def test_a_wrong_key_is_told(daemon1, tmp_path, transport):
    """Publisher and members alike: the server's own answer, and what to do."""
    wrong = tmp_path / "wrong.key"
    wrong.write_text("another secret of more than thirty-two bytes")
    socket = ["--publish-socket", daemon1.socket_path] if transport == "unix" else []
    said = loadtest(daemon1, "smoke", *socket, key=wrong, code=1)
    assert "HTTP 401" in said and "--key must be the key" in said, said


def test_workers_end_with_their_run(daemon1):
    """A run that is killed leaves no process behind: its workers see their stdin end."""
    run = subprocess.Popen(command(daemon1, "smoke", "--duration", "1h", "--workers", "2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    children = wait_until(lambda: children_of(run.pid), "there are workers")
    wait_until(lambda: daemon1.metric('tickerd_connections{kind="websocket"}') >= 50, "they are connected", PATIENCE_S)
    assert len(children) == 2
    run.kill()
    run.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid in children), "the workers have ended")


def test_a_worker_that_dies_ends_the_run(daemon1):
    run = subprocess.Popen(command(daemon1, "smoke", "--duration", "1h", "--workers", "2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        first, second = wait_until(lambda: children_of(run.pid), "there are workers")
        os.kill(second, signal.SIGKILL)
        _, err = run.communicate(timeout=PATIENCE_S)
    finally:
        run.kill()
    assert run.returncode == 1 and "worker 1 ended before the run did: signal: 9" in err.decode(), err.decode()
    wait_until(lambda: not is_alive(first), "the other one has ended too")


def children_of(pid):
    with contextlib.suppress(FileNotFoundError):
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            pids = [int(child) for child in children.read().split()]
        return pids if len(pids) == 2 else None


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False
