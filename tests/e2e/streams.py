"""Server-sent events and long polls by hand: readers that stall, come back, or come by the thousand."""

import json
import socket
import time
from urllib.parse import quote

from contract import check_message
from harness import DEADLINE_S, Message, RawHttp, Response


def get(path, token=None, version="1.1", **headers):
    """A GET; an underscore in a header's name stands for a dash."""
    fields = {"Host": "localhost", "Authorization": f"Bearer {token}" if token else None} | headers
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/{version}", *lines, "", ""]).encode()


def query(**params):
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in params.items() if value is not None)


def events_path(room, **params):
    return "/v1/events?" + query(room=room, **params)


class EventStream:
    """A reader of `/v1/events`, as an EventSource reads: the last `id` is kept. `response` is the answer's head, or all of a refusal."""

    def __init__(self, address, room, token=None, *, version="1.1", receive_buffer_bytes=None, tls=None, ticket=None, headers=None, **params):
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE_S)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect(address)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        self.socket.sendall(get(events_path(room, ticket=ticket, **params), token, version, **(headers or {})))
        self.rest, self.last_id, self.retry_ms = b"", None, None
        while b"\r\n\r\n" not in self.rest:
            assert self._more(), self.rest
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        self.response = Response(head, b"")
        if self.response.status != 200:
            while len(self.rest) < int(self.response.headers["content-length"]):
                assert self._more()
            self.response.body = self.rest

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def _more(self):
        chunk = self.socket.recv(1 << 18)
        self.rest += chunk
        return len(chunk)

    def recv(self, deadline_s=DEADLINE_S, heartbeats=False):
        """The next message; None at the end of the stream."""
        ends = time.monotonic() + deadline_s
        while True:
            while b"\n\n" not in self.rest:
                self.socket.settimeout(max(0.001, ends - time.monotonic()))
                if not self._more():
                    assert not self.rest, f"a message without an end: {self.rest!r}"
                    return None
            text, self.rest = self.rest.split(b"\n\n", 1)
            message = self._message(text.decode())
            if heartbeats or message["type"] != "heartbeat":
                return message

    def _message(self, text):
        data = None
        for line in text.split("\n"):
            name, value = line.split(": ", 1)
            if name == "id":
                self.last_id = value
            elif name == "retry":
                self.retry_ms = int(value)
            else:
                assert name == "data" and data is None, text
                data = value
        message = Message(data)
        check_message(message)
        return message

    def until(self, kind, deadline_s=DEADLINE_S):
        """All messages up to and with the next of that type."""
        messages, ends = [], time.monotonic() + deadline_s
        while not messages or messages[-1]["type"] != kind:
            message = self.recv(max(0.001, ends - time.monotonic()))
            assert message is not None, f"the stream ended after {messages[-3:]}"
            messages.append(message)
        return messages

    def opened(self):
        """The messages of its beginning."""
        assert self.response.status == 200, (self.response.status, self.response.body)
        messages = self.until("caught_up")
        assert [message["type"] for message in messages[:2]] == ["welcome", "subscribed"], messages
        return messages

    def to_end(self, deadline_s=DEADLINE_S):
        messages, ends = [], time.monotonic() + deadline_s
        while (message := self.recv(max(0.001, ends - time.monotonic()))) is not None:
            messages.append(message)
        return messages


class Poller:
    """A client of `/v1/poll` on one connection, which goes on where it was."""

    def __init__(self, address, room, token, since=None, tls=None):
        self.raw, self.room, self.token, self.since = RawHttp(address, tls), room, token, since

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.raw.socket.close()

    def ask(self, **params):
        self.raw.send(get("/v1/poll?" + query(room=self.room, since=self.since, **params), self.token))

    def answer(self, deadline_s=DEADLINE_S):
        """The messages, once they come."""
        self.raw.socket.settimeout(deadline_s)
        self.last = self.raw.response()
        assert self.last.status == 200, (self.last.status, self.last.body)
        answer = json.loads(self.last.body)
        self.since, self.more = answer["cursor"], answer.get("more", False)
        return answer["messages"]

    def poll(self, deadline_s=DEADLINE_S, **params):
        self.ask(**params)
        return self.answer(deadline_s)
