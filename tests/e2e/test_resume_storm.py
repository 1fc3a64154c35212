"""All clients of a daemon that was killed come back at once, each with its position; and a daemon with a long journal is ready at once."""

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from canary import Canary, p99
from harness import LONG, PATIENCE_S, Daemon, figures, note, select_ready

CLIENTS = 10_000 if LONG else 1_000
EVENTS = 1_000_000 if LONG else 50_000
SEEN, WANTED = 1, 4
BACK_WITHIN_S = 30


def test_all_clients_come_back_at_once_after_a_restart(tmp_path):
    """DLV-08, PRF-08, promise 2: after kill -9, 1,000 clients (with TICKERD_LONG=1: 10,000) connect at once, each with a position in a room
    of its own. None is refused, all have exactly what they lacked within 30 s, and alerts go on in the meantime: every one comes, in order."""
    data = tmp_path / "data"
    daemon = Daemon(tmp_path / "1", reactors=2, data_dir=data)
    rooms = range(CLIENTS)
    answers = pipeline(daemon, [json.dumps(note(f"r:{room}", data=number)).encode() for number in range(1, WANTED + 1) for room in rooms])
    epochs = {answer["epoch"] for answer in answers}
    assert len(epochs) == 1 and all(answer["ack"] == "durable" for answer in answers)
    daemon.process.kill()
    daemon.process.wait()

    daemon = Daemon(tmp_path / "2", reactors=2, data_dir=data, max_connections=CLIENTS + 100)
    try:
        canary = Canary(daemon)
        idle = canary.latencies_ms(2)
        report, alerts = storm(daemon, canary, epochs.pop())
        figures("resume storm", clients=CLIENTS, missed=WANTED - SEEN, **report)
        figures(
            "resume storm, alerts", count=len(alerts), p50_ms=round(statistics.median(alerts), 2), p99_ms=round(p99(alerts), 2),
            idle_p99_ms=round(p99(idle), 2),
        )  # fmt: skip
        assert (report["caught_up"], report["refusals"], report["faults"]) == (CLIENTS, {}, 0), report
        assert report["last_s"] <= BACK_WITHIN_S, report
    finally:
        canary.close()
        daemon.end()


def storm(daemon, canary, epoch):
    """What became of the crowd, and how late each alert was meanwhile."""
    host, port = daemon.address
    script = Path(__file__).with_name("resuming_crowd.py")
    command_line = [sys.executable, str(script), host, str(port), str(CLIENTS), epoch, str(SEEN), str(WANTED)]
    crowd = subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert crowd.stdout.readline() == b"minted\n"
        crowd.stdin.write(b"go\n")
        crowd.stdin.flush()
        alerts = []
        while not select_ready([crowd.stdout], [], 0)[0] and len(alerts) < 4 * PATIENCE_S * 100:
            alerts += canary.latencies_ms(0.5)
        return json.loads(crowd.stdout.readline()), alerts
    finally:
        crowd.kill()
        crowd.communicate()


def test_ready_at_once_with_a_long_journal(tmp_path):
    """DLV-09: killed with 50,000 events in the journal (with TICKERD_LONG=1: 1,000,000 of 300 bytes), it is ready again soon, and goes on
    counting where it was. How soon is a figure; that it is under ten seconds is a test."""
    data = tmp_path / "data"
    daemon = Daemon(tmp_path / "1", reactors=1, data_dir=data)
    lines = [json.dumps(note(f"r:{number % 1000}", data="x" * 210)).encode() for number in range(1000)]
    for _ in range(EVENTS // len(lines)):
        last = pipeline(daemon, lines)[-1]
    size = sum(file.stat().st_size for file in (data / "journal").glob("*.log"))
    daemon.process.kill()
    daemon.process.wait()
    began = time.monotonic()
    daemon = Daemon(tmp_path / "2", reactors=1, data_dir=data)
    took = time.monotonic() - began
    figures("ready", events=EVENTS, journal_bytes=size, seconds=round(took, 3), rss_bytes=daemon.rss_bytes())
    answer = pipeline(daemon, lines[-1:])[0]
    assert (answer["seq"], answer["room"]) == (last["seq"] + 1, last["room"])
    assert took < 10
    daemon.end()


def pipeline(daemon, lines):
    """Publishes them all without waiting for answers; the answers."""
    publisher = socket.socket(socket.AF_UNIX)
    publisher.settimeout(PATIENCE_S)
    publisher.connect(daemon.socket_path)
    writer = threading.Thread(target=publisher.sendall, args=(b"\n".join(lines) + b"\n",))
    writer.start()
    with publisher.makefile("rb") as answers:
        read = [json.loads(answers.readline()) for _ in lines]
    writer.join()
    publisher.close()
    assert all(answer["ok"] for answer in read), next(answer for answer in read if not answer["ok"])
    return read
