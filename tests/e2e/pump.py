"""A publisher in a process of its own, so that its pace does not depend on what the test does meanwhile.

    python pump.py SOCKET RATE COUNT ROOM LANE MODE [PADDING]
    python pump.py SOCKET RATE COUNT desk CHALLENGES

Publishes COUNT events at RATE a second, with `data` {"n": 1}, {"n": 2}, … and so many bytes of padding, or those of a desk (see desk.py); prints `started`
after the first answer, and at the end, or when its standard input is closed, a JSON object with what was answered. Events are
due at fixed times: if the daemon or the machine is late, they are sent late but all of them.
"""

import json
import select
import socket
import sys
import time

from desk import Desk


def main():
    path, rate, count = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    publisher = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    publisher.connect(path)
    publisher.setblocking(False)
    try:
        print(json.dumps(pump(publisher, lines_of(*sys.argv[4:]), rate, count)), flush=True)
    except ConnectionError as gone:
        sys.exit(f"the daemon is gone: {gone}")


def lines_of(room, *rest):
    """The function from an event's number, counted from 1, to its line."""
    if room == "desk":
        desk = Desk(int(rest[0]))
        return lambda n: desk.line(n - 1)
    head = json.dumps({"type": "note", "room": room, "lane": rest[0], "mode": rest[1]})[:-1]
    padding = f', "padding": "{"x" * int(rest[2])}"' if len(rest) > 2 else ""
    return lambda n: f'{head}, "data": {{"n": {n}{padding}}}}}\n'.encode()


def pump(publisher, line, rate, count):
    sent, answered, refused, rest, out = 0, 0, 0, b"", b""
    began, last, stopped = time.monotonic(), b"", False
    while answered < sent or (sent < count and not stopped):
        due = min(count, int((time.monotonic() - began) * rate) + 1)
        if not stopped and sent < due:
            batch = range(sent + 1, min(due, sent + 1000) + 1)
            out += b"".join(map(line, batch))
            sent = batch[-1]
        readable, writable, _ = select.select([publisher, sys.stdin], [publisher] if out else [], [], 0.002)
        if writable:
            out = out[publisher.send(out) :]
        if publisher in readable:
            *lines, rest = (rest + publisher.recv(1 << 20)).split(b"\n")
            if answered == 0 and lines:
                print("started", flush=True)
            answered += len(lines)
            refused += sum(not line.startswith(b'{"ok":true') for line in lines)
            last = lines[-1] if lines else last
        if sys.stdin in readable:
            stopped = True
    return {"sent": sent, "refused": refused, "last": json.loads(last), "seconds": time.monotonic() - began}


if __name__ == "__main__":
    main()
