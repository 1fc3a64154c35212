"""A publisher in a process of its own, so that its pace does not depend on what the test does meanwhile.

    python pump.py SOCKET RATE COUNT ROOM LANE MODE

Publishes COUNT events at RATE a second, with `data` {"n": 1}, {"n": 2}, …; prints `started` after the first answer, and at the
end, or when its standard input is closed, a JSON object with what was answered. Events are due at fixed times: if the daemon or
the machine is late, they are sent late but all of them.
"""

import json
import select
import socket
import sys
import time


def main():
    path, rate, count, room, lane, mode = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:7]
    publisher = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    publisher.connect(path)
    publisher.setblocking(False)
    head = json.dumps({"type": "note", "room": room, "lane": lane, "mode": mode})[:-1]
    try:
        print(json.dumps(pump(publisher, head, rate, count)), flush=True)
    except ConnectionError as gone:
        sys.exit(f"the daemon is gone: {gone}")


def pump(publisher, head, rate, count):
    sent, answered, refused, rest, out = 0, 0, 0, b"", b""
    began, last, stopped = time.monotonic(), b"", False
    while answered < sent or (sent < count and not stopped):
        due = min(count, int((time.monotonic() - began) * rate) + 1)
        if not stopped and sent < due:
            batch = range(sent + 1, min(due, sent + 1000) + 1)
            out += "".join(f'{head}, "data": {{"n": {n}}}}}\n' for n in batch).encode()
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
