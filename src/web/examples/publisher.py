"""Publishes to tickerd over its unix socket, with nothing but Python's own library."""

import json
import socket
import time
import uuid


class Refused(Exception):
    """The daemon's own words: what is wrong, and what to do."""


class Publisher:
    """Publish what is committed, after the commit. An event gets an `event_id`, so that one that is sent again, because its answer was lost, is there once."""

    def __init__(self, path):
        self.path, self.stream = path, None

    def publish(self, type, data, **envelope):
        """Waits for the daemon to have it, however long that takes; returns its answer."""
        event = {"type": type, "event_id": str(uuid.uuid4())} | envelope | {"data": data}
        line = json.dumps(event, allow_nan=False) + "\n"
        while True:
            try:
                answer = self._exchange(line)
            except OSError:
                self.stream = None  # the daemon is away: trading goes on, and this is sent when it is back
                time.sleep(0.5)
                continue
            if answer["ok"]:
                return answer
            if "retry_after_ms" not in answer:
                raise Refused(f"{answer['name']}: {answer['message']}")
            time.sleep(answer["retry_after_ms"] / 1000)

    def _exchange(self, line):
        if self.stream is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.path)
            self.stream = connection.makefile("rw", encoding="utf-8")
        self.stream.write(line)
        self.stream.flush()
        answer = self.stream.readline()
        if not answer:
            raise ConnectionError("the daemon closed the connection")
        return json.loads(answer)
