"""Handshakes and frames that break RFC 9110, 9112 and 6455 or stand at their edge: each named, with its exact status or close code.

What is no flaw is here too, beside its like that is one, so that strictness does not grow beyond the standards.
"""

import pytest
from harness import Daemon, RawHttp, figures, mint
from wire import BINARY, CLOSE, PING, PONG, TEXT, RawClient, frame, upgrade_request

TOKEN = mint(rooms=["*"])
CONTINUATION = 0
PING_COMMAND = b'{"type":"ping","id":1}'
COMMAND_BYTES_MAX = 16 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("abuse") / "daemon", reactors=1, compression=True)
    yield daemon
    daemon.end()


# ---- what the request line says --------------------------------------------------------------------------------------


def with_line(line):
    """A good upgrade but for its first line."""
    return line + b"\r\n" + upgrade_request(TOKEN).split(b"\r\n", 1)[1]


LINES = {
    "good": (b"GET /v1/ws HTTP/1.1", 101),
    "an empty line before it": (b"\r\nGET /v1/ws HTTP/1.1", 101),
    "a query": (b"GET /v1/ws?a=b&c HTTP/1.1", 101),
    "an empty query": (b"GET /v1/ws? HTTP/1.1", 101),
    "absolute form": (b"GET http://localhost/v1/ws HTTP/1.1", 101),
    "absolute form with a port": (b"GET http://localhost:8080/v1/ws HTTP/1.1", 101),
    "absolute form, https": (b"GET https://localhost/v1/ws HTTP/1.1", 101),
    "absolute form, scheme in capitals": (b"GET HTTP://localhost/v1/ws HTTP/1.1", 101),
    "absolute form of another host": (b"GET http://other.example/v1/ws HTTP/1.1", 101),
    "absolute form, another path": (b"GET http://localhost/v2/ws HTTP/1.1", 404),
    "absolute form without path": (b"GET http://localhost HTTP/1.1", 200),
    "absolute form with a query and no path": (b"GET http://localhost?a HTTP/1.1", 400),
    "absolute form without host": (b"GET http:///v1/ws HTTP/1.1", 400),
    "absolute form with a user": (b"GET http://me@localhost/v1/ws HTTP/1.1", 400),
    "absolute form, ftp": (b"GET ftp://localhost/v1/ws HTTP/1.1", 400),
    "absolute form, ws": (b"GET ws://localhost/v1/ws HTTP/1.1", 400),
    "authority form": (b"GET localhost:8080 HTTP/1.1", 400),
    "asterisk form": (b"GET * HTTP/1.1", 400),
    "a path without slash": (b"GET v1/ws HTTP/1.1", 400),
    "backslashes": (b"GET \\v1\\ws HTTP/1.1", 400),
    "a fragment": (b"GET /v1/ws#a HTTP/1.1", 400),
    "a fragment after the query": (b"GET /v1/ws?a#b HTTP/1.1", 400),
    "another path": (b"GET /v1/wss HTTP/1.1", 404),
    "a slash at the end": (b"GET /v1/ws/ HTTP/1.1", 404),
    "two slashes": (b"GET //v1/ws HTTP/1.1", 404),
    "dots": (b"GET /a/../v1/ws HTTP/1.1", 404),
    "an encoded letter": (b"GET /v1/%77s HTTP/1.1", 404),
    "an encoded NUL": (b"GET /v1/ws%00 HTTP/1.1", 404),
    "capitals": (b"GET /V1/WS HTTP/1.1", 404),
    "a NUL in the path": (b"GET /v1/ws\0 HTTP/1.1", 400),
    "a control character in the path": (b"GET /v1/w\x01s HTTP/1.1", 400),
    "DEL in the path": (b"GET /v1/w\x7fs HTTP/1.1", 400),
    "a space in the path": (b"GET /v1/w s HTTP/1.1", 400),
    "a path of 20,000 bytes": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1", 431),
    "two spaces": (b"GET  /v1/ws HTTP/1.1", 400),
    "two spaces before the version": (b"GET /v1/ws  HTTP/1.1", 400),
    "a tab for a space": (b"GET\t/v1/ws HTTP/1.1", 400),
    "a space before it": (b" GET /v1/ws HTTP/1.1", 400),
    "a space at its end": (b"GET /v1/ws HTTP/1.1 ", 400),
    "no version": (b"GET /v1/ws", 400),
    "no path": (b"GET HTTP/1.1", 400),
    "nothing": (b"", 400),
    "HTTP/1.0": (b"GET /v1/ws HTTP/1.0", 400),
    "HTTP/0.9": (b"GET /v1/ws HTTP/0.9", 505),
    "HTTP/1.2": (b"GET /v1/ws HTTP/1.2", 505),
    "HTTP/2.0": (b"GET /v1/ws HTTP/2.0", 505),
    "HTTP/11": (b"GET /v1/ws HTTP/11", 400),
    "version in small letters": (b"GET /v1/ws http/1.1", 400),
    "a version of another protocol": (b"GET /v1/ws HTTPS/1.1", 400),
    "method in small letters": (b"get /v1/ws HTTP/1.1", 405),
    "POST": (b"POST /v1/ws HTTP/1.1", 405),
    "PUT": (b"PUT /v1/ws HTTP/1.1", 405),
    "DELETE": (b"DELETE /v1/ws HTTP/1.1", 405),
    "OPTIONS": (b"OPTIONS /v1/ws HTTP/1.1", 405),
    "TRACE": (b"TRACE /v1/ws HTTP/1.1", 405),
    "PATCH": (b"PATCH /v1/ws HTTP/1.1", 405),
    "a method that nobody knows": (b"BREW /v1/ws HTTP/1.1", 405),
    "CONNECT": (b"CONNECT localhost:8080 HTTP/1.1", 400),
    "a method that is no token": (b"GE(T /v1/ws HTTP/1.1", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0", 505),
}

# ---- what headers say ------------------------------------------------------------------------------------------------


def with_headers(*lines):
    """A good upgrade with these header lines before its others."""
    first, rest = upgrade_request(TOKEN).split(b"\r\n", 1)
    return b"\r\n".join([first, *lines, rest])


HEADERS = {
    "an unknown one": (b"X-Other: a", 101),
    "an empty value": (b"X-Other:", 101),
    "tabs around the value": (b"X-Other:\ta\t", 101),
    "bytes beyond ASCII in the value": (b"X-Other: \xe9\xff", 101),
    "a body of no bytes": (b"Content-Length: 0", 101),
    "a list of upgrades": (b"Upgrade: h2c", 101),
    "connection twice": (b"Connection: keep-alive", 101),
    "an underscore is another header": (b"Content_Length: 5", 101),
    "a name without colon": (b"X-Other", 400),
    "an empty name": (b": a", 400),
    "a space before the colon": (b"X-Other : a", 400),
    "a tab before the colon": (b"X-Other\t: a", 400),
    "a space within the name": (b"X Other: a", 400),
    "a space before the name": (b" X-Other: a", 400),
    "a bracket in the name": (b"X-(Other): a", 400),
    "bytes beyond ASCII in the name": (b"X-\xe9: a", 400),
    "a NUL in the name": (b"X-\0: a", 400),
    "a NUL in the value": (b"X-Other: a\0b", 400),
    "a control character in the value": (b"X-Other: a\x01b", 400),
    "DEL in the value": (b"X-Other: a\x7fb", 400),
    "a carriage return in the value": (b"X-Other: a\rb", 400),
    "folded by a space": (b"X-Other: a\r\n b", 400),
    "folded by a tab": (b"X-Other: a\r\n\tb", 400),
    "a line feed alone": (b"X-Other: a\nX-More: b", 400),
    "a line feed that hides a header": (b"X-Other: a\nContent-Length: 5", 400),
    "two carriage returns": (b"X-Other: a\r\r\nX-More: b", 400),
    "a name of 20,000 bytes": (b"X" * 20_000 + b": a", 431),
    "a value of 20,000 bytes": (b"X-Other: " + b"a" * 20_000, 431),
    "a hundred headers": (b"\r\n".join(b"X-%d: a" % n for n in range(100)), 431),
    "a second host": (b"Host: localhost", 400),
    "a second key": (b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400),
    "a second version": (b"Sec-WebSocket-Version: 13", 400),
    "a second token": (b"Authorization: Bearer a.b.c", 400),
    "two origins": (b"Origin: https://a.example\r\nOrigin: https://a.example", 400),
    "a body": (b"Content-Length: 5", 400),
    "two equal lengths": (b"Content-Length: 0\r\nContent-Length: 0", 400),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 5", 400),
    "two lengths in one line": (b"Content-Length: 0, 0", 400),
    "an empty length": (b"Content-Length:", 400),
    "a signed length": (b"Content-Length: +0", 400),
    "a negative length": (b"Content-Length: -1", 400),
    "a hexadecimal length": (b"Content-Length: 0x0", 400),
    "a length with a blank in it": (b"Content-Length: 0 0", 400),
    "a length of Arabic digits": ("Content-Length: ٠".encode(), 400),
    "a length beyond 64 bits": (b"Content-Length: 18446744073709551616", 413),
    "chunked": (b"Transfer-Encoding: chunked", 411),
    "chunked in capitals": (b"Transfer-Encoding: CHUNKED", 411),
    "chunked and a length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
    "a length and chunked": (b"Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
    "chunked twice": (b"Transfer-Encoding: chunked, chunked", 501),
    "chunked in two lines": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 501),
    "identity": (b"Transfer-Encoding: identity", 501),
    "gzip": (b"Transfer-Encoding: gzip, chunked", 501),
    "almost chunked": (b"Transfer-Encoding: xchunked", 501),
    "chunked behind a vertical tab": (b"Transfer-Encoding: \x0bchunked", 400),
    "an empty coding": (b"Transfer-Encoding:", 501),
    "extensions: an offer of compression": (b"Sec-WebSocket-Extensions: permessage-deflate", 101),
    "extensions: unknown": (b"Sec-WebSocket-Extensions: x-unknown; a=b", 101),
    "extensions: a parameter in quotes": (b'Sec-WebSocket-Extensions: x-unknown; a="b"', 101),
    "extensions: two lines": (b"Sec-WebSocket-Extensions: x-a\r\nSec-WebSocket-Extensions: x-b", 101),
    "extensions: empty": (b"Sec-WebSocket-Extensions:", 400),
    "extensions: commas alone": (b"Sec-WebSocket-Extensions: , ,", 400),
    "extensions: a semicolon at the end": (b"Sec-WebSocket-Extensions: permessage-deflate;", 400),
    "extensions: a parameter without value": (b"Sec-WebSocket-Extensions: permessage-deflate; a=", 400),
    "extensions: an open quote": (b'Sec-WebSocket-Extensions: permessage-deflate; a="b', 400),
    "extensions: two words": (b"Sec-WebSocket-Extensions: permessage deflate", 400),
    "extensions: a bracket": (b"Sec-WebSocket-Extensions: permessage-(deflate)", 400),
    "extensions: bytes beyond ASCII": (b"Sec-WebSocket-Extensions: \xe9", 400),
    "protocols: ours": (b"Sec-WebSocket-Protocol: tickerd.v1", 101),
    "protocols: ours among others": (b"Sec-WebSocket-Protocol: a, tickerd.v1, b", 101),
    "protocols: ours in the second line": (b"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: tickerd.v1", 101),
    "protocols: of another": (b"Sec-WebSocket-Protocol: graphql-ws", 400),
    "protocols: in capitals": (b"Sec-WebSocket-Protocol: TICKERD.V1", 400),
    "protocols: behind a semicolon": (b"Sec-WebSocket-Protocol: a; tickerd.v1", 400),
    "protocols: two tokens": (b"Sec-WebSocket-Protocol: tickerd.v1, bearer.a.b.c, bearer.a.b.c", 400),
    "protocols: a token beside the header's": (b"Sec-WebSocket-Protocol: tickerd.v1, bearer.a.b.c", 400),
    "protocols: an empty token": (b"Sec-WebSocket-Protocol: tickerd.v1, bearer.", 400),
}

# What takes the place of a good upgrade's header.
REPLACED = {
    "host with a port": ({"Host": "localhost:8080"}, 101),
    "host by IPv6": ({"Host": "[::1]:8080"}, 101),
    "no host": ({"Host": None}, 400),
    "host with a comma": ({"Host": "a, b"}, 400),
    "host with a slash": ({"Host": "localhost/v1"}, 400),
    "host with a user": ({"Host": "me@localhost"}, 400),
    "host with a space": ({"Host": "local host"}, 400),
    "host with a query": ({"Host": "localhost?a"}, 400),
    "host with a backslash": ({"Host": "localhost\\a"}, 400),
    "no upgrade": ({"Upgrade": None}, 426),
    "upgrade empty": ({"Upgrade": ""}, 426),
    "upgrade to h2c": ({"Upgrade": "h2c"}, 426),
    "upgrade with a version": ({"Upgrade": "websocket/13"}, 426),
    "upgrade in two words": ({"Upgrade": "web socket"}, 426),
    "upgrade in capitals": ({"Upgrade": "WEBSOCKET"}, 101),
    "upgrade in a list": ({"Upgrade": "h2c, websocket"}, 101),
    "no connection": ({"Connection": None}, 400),
    "connection empty": ({"Connection": ""}, 400),
    "connection close": ({"Connection": "close"}, 400),
    "connection keep-alive": ({"Connection": "keep-alive"}, 400),
    "connection almost upgrade": ({"Connection": "upgraded"}, 400),
    "connection by semicolons": ({"Connection": "keep-alive; upgrade"}, 400),
    "connection in a list": ({"Connection": "keep-alive,  ,UPGRADE"}, 101),
    "no version": ({"Sec_WebSocket_Version": None}, 426),
    "version empty": ({"Sec_WebSocket_Version": ""}, 426),
    "version 0": ({"Sec_WebSocket_Version": "0"}, 426),
    "version 8": ({"Sec_WebSocket_Version": "8"}, 426),
    "version 12": ({"Sec_WebSocket_Version": "12"}, 426),
    "version 14": ({"Sec_WebSocket_Version": "14"}, 426),
    "version 013": ({"Sec_WebSocket_Version": "013"}, 426),
    "version 13.0": ({"Sec_WebSocket_Version": "13.0"}, 426),
    "version +13": ({"Sec_WebSocket_Version": "+13"}, 426),
    "version 13, 8": ({"Sec_WebSocket_Version": "13, 8"}, 426),
    "version with blanks around": ({"Sec_WebSocket_Version": " 13\t"}, 101),
    "no key": ({"Sec_WebSocket_Key": None}, 400),
    "key empty": ({"Sec_WebSocket_Key": ""}, 400),
    "key of 15 bytes": ({"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAA"}, 400),
    "key of 17 bytes": ({"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAAA="}, 400),
    "key of 18 bytes": ({"Sec_WebSocket_Key": "A" * 24}, 400),
    "key of 1,000 bytes": ({"Sec_WebSocket_Key": "A" * 1334 + "=="}, 400),
    "key of the URL alphabet": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub2_-ZQ=="}, 400),
    "key without padding": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
    "key with padding within": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZS==ub25jZQ="}, 400),
    "key with a blank in it": ({"Sec_WebSocket_Key": "dGhlIHNhbXBs ZSBub25jZ=="}, 400),
    "key with blanks around": ({"Sec_WebSocket_Key": " dGhlIHNhbXBsZSBub25jZQ== "}, 101),
    "two keys in one line": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="}, 400),
    "a token that is none": ({"Authorization": "Bearer x"}, 401),
    "an empty token": ({"Authorization": "Bearer "}, 400),
    "a token in two words": ({"Authorization": "Bearer a b"}, 401),
    "a token of 9,000 bytes": ({"Authorization": "Bearer " + "a" * 9_000}, 401),
}

WHOLE = {
    "lines without carriage returns": (upgrade_request(TOKEN).replace(b"\r\n", b"\n"), 400),
    "the last line without carriage return": (upgrade_request(TOKEN)[:-2] + b"\n", 400),
    "the first line without carriage return": (upgrade_request(TOKEN).replace(b"\r\n", b"\n", 1), 400),
    "TLS": (bytes.fromhex("16030100c0010000bc0303") + bytes(180), 400),
    "NULs": (bytes(64), 400),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 400),
    "Redis": (b"*1\r\n$4\r\nPING\r\n\r\n", 400),
    "a line feed first": (b"\n" + upgrade_request(TOKEN), 400),
    "a WebSocket frame": (frame(TEXT, PING_COMMAND) + b"\r\n\r\n", 400),
}

HANDSHAKES = (
    {f"line: {name}": (with_line(line), status) for name, (line, status) in LINES.items()}
    | {f"headers: {name}": (with_headers(line), status) for name, (line, status) in HEADERS.items()}
    | {f"replaced: {name}": (upgrade_request(TOKEN, **headers), status) for name, (headers, status) in REPLACED.items()}
    | {f"whole: {name}": case for name, case in WHOLE.items()}
)


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshakes(server, name):
    """ERR-02, NET-07, LIM-04: refused with a status and a JSON body that says why, never with silence; or upgraded, and served."""
    request, status = HANDSHAKES[name]
    with RawHttp(server.address) as raw:
        raw.send(request)
        response = raw.response()
    assert response.status == status
    if status >= 400:
        assert response.json["ok"] is False and response.json["message"]
    if status == 405:
        assert response.headers["allow"] == "GET"
    if status == 426:
        assert response.headers.get("sec-websocket-version") == "13" or response.headers["upgrade"] == "websocket"


# ---- frames ----------------------------------------------------------------------------------------------------------


def close(code, reason=b""):
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def header(first, *rest):
    """A masked frame's header by hand: the length's bytes, and a key of zeros."""
    return bytes([first, *rest]) + bytes(4)


def split(*parts):
    """One text message in fragments."""
    first, *middle, last = parts
    return frame(TEXT, first, fin=False) + b"".join(frame(CONTINUATION, part, fin=False) for part in middle) + frame(CONTINUATION, last)


FRAMES = (
    {f"opcode {opcode}": (frame(opcode, b""), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}
    | {f"opcode {opcode} with a body": (frame(opcode, b"x" * 200), 1002) for opcode in (3, 7, 11, 15)}
    | {f"reserved bits {rsv:03b} on text": (frame(TEXT, PING_COMMAND, rsv=rsv), 1002) for rsv in range(1, 8)}
    | {f"reserved bits {rsv:03b} on a ping": (frame(PING, b"", rsv=rsv), 1002) for rsv in (1, 2, 4, 7)}
    | {f"close with code {code}": (close(code), 1002) for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535)}
    | {f"close with code {code} is answered": (close(code), code) for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)}
    | {
        "close without code is answered": (frame(CLOSE), 1000),
        "close of one byte": (frame(CLOSE, b"\x03"), 1002),
        "close with a reason of 123 bytes": (close(1000, b"x" * 123), 1000),
        "close with a reason of 124 bytes": (close(1000, b"x" * 124), 1002),
        "close with a reason that is no UTF-8": (close(1000, b"\xff"), 1007),
        "close with a reason that ends within a character": (close(1000, b"\xc3"), 1007),
        "close in fragments": (frame(CLOSE, b"\x03", fin=False), 1002),
        "close without mask": (frame(CLOSE, masked=False), 1002),
        "close within a message": (frame(TEXT, b"{", fin=False) + close(1000), 1000),
        "ping in fragments": (frame(PING, b"x", fin=False), 1002),
        "pong in fragments": (frame(PONG, b"x", fin=False), 1002),
        "ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
        "pong of 126 bytes": (frame(PONG, b"x" * 126), 1002),
        "ping of 64 KiB by its header": (header(0x89, 0xFF, *(1 << 16).to_bytes(8, "big")), 1002),
        "ping without mask": (frame(PING, b"x", masked=False), 1002),
        "text without mask": (frame(TEXT, PING_COMMAND, masked=False), 1002),
        "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
        "open continuation of nothing": (frame(CONTINUATION, b"x", fin=False), 1002),
        "continuation after a whole message": (frame(TEXT, PING_COMMAND) + frame(CONTINUATION, b"x"), 1002),
        "continuation after the last": (split(b"{", b"}") + frame(CONTINUATION, b"x"), 1002),
        "text within a text": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
        "binary within a text": (frame(TEXT, b"{", fin=False) + frame(BINARY, b"}"), 1002),
        "text within a binary": (frame(BINARY, b"{", fin=False) + frame(TEXT, b"}"), 1002),
        "a bad ping within a message": (frame(TEXT, b"{", fin=False) + frame(PING, b"x" * 126), 1002),
        "16 bits for a length of 125": (header(0x81, 0xFE, 0, 125), 1002),
        "16 bits for a length of 0": (header(0x81, 0xFE, 0, 0), 1002),
        "64 bits for a length of 65535": (header(0x81, 0xFF, *(65535).to_bytes(8, "big")), 1002),
        "64 bits for a length of 1": (header(0x81, 0xFF, *(1).to_bytes(8, "big")), 1002),
        "a length with the top bit": (header(0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0), 1002),
        "a length of all ones": (header(0x81, 0xFF, *[0xFF] * 8), 1002),
        "one byte too long, by its header": (header(0x81, 0xFE, *(COMMAND_BYTES_MAX + 1).to_bytes(2, "big")), 1009),
        "1 TiB, by its header": (header(0x81, 0xFF, *(1 << 40).to_bytes(8, "big")), 1009),
        "all but the top bit, by its header": (header(0x81, 0xFF, 0x7F, *[0xFF] * 7), 1009),
        "binary that is too long, by its header": (header(0x82, 0xFF, *(1 << 20).to_bytes(8, "big")), 1009),
        "too long in two fragments": (frame(TEXT, b"x" * 9000, fin=False) + header(0x80, 0xFE, *(9000).to_bytes(2, "big")), 1009),
        "too long in single bytes": (frame(TEXT, b"x" * (COMMAND_BYTES_MAX - 1), fin=False) + frame(CONTINUATION, b"x", fin=False) * 2, 1009),
        "binary": (frame(BINARY, b"\x00"), 1003),
        "empty binary": (frame(BINARY), 1003),
        "binary in fragments": (frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b"), 1003),
        "compressed without being so": (frame(TEXT, PING_COMMAND, rsv=4), 1002),
        "an HTTP request": (b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
        "NULs": (bytes(64), 1002),
        "all ones": (b"\xff" * 64, 1002),
    }
    | {
        f"text that is no UTF-8: {name}": (frame(TEXT, b'"' + text + b'"'), 1007)
        for name, text in {
            "a continuation byte": b"\x80",
            "no continuation byte": b"\xc3(",
            "the longest form of a slash": b"\xc0\xaf",
            "three bytes for NUL": b"\xe0\x80\x80",
            "four bytes for NUL": b"\xf0\x80\x80\x80",
            "half of a pair": b"\xed\xa0\x80",
            "a pair of halves": b"\xed\xa0\xbd\xed\xb8\x80",
            "beyond the last character": b"\xf4\x90\x80\x80",
            "five bytes": b"\xf8\x88\x80\x80\x80",
            "FE": b"\xfe",
            "FF": b"\xff",
            "Latin-1": "é".encode("latin-1"),
        }.items()
    }
    | {
        "text that ends within a character": (frame(TEXT, b'"\xe2\x82'), 1007),
        "text that ends within a character, in fragments": (split(b'"\xe2', b"\x82"), 1007),
        "a character broken by the next fragment": (split(b'"\xe2\x82', b'"'), 1007),
        "a character broken by an empty last fragment": (split(b'"\xe2\x82', b""), 1007),
        "no character after the first fragment": (frame(TEXT, b'"\xff', fin=False), 1007),
        "no character after the second fragment": (frame(TEXT, b'"\xf4', fin=False) + frame(CONTINUATION, b"\x90", fin=False), 1007),
        "half of a pair over fragments": (frame(TEXT, b"\xed", fin=False) + frame(CONTINUATION, b"\xa0", fin=False), 1007),
    }
)


@pytest.mark.parametrize("name", FRAMES)
def test_frames(server, name):
    """ERR-02, LIM-04, LIM-05, PRO-08: each ends the connection with its code, at once and without waiting for what was announced."""
    data, code = FRAMES[name]
    with RawClient(server.address, TOKEN) as client:
        client.texts(1, "welcome")
        client.send(data)
        assert client.close_code() == code


def test_enough_and_the_daemon_serves_on(server):
    """ERR-02: after all of it the next client is served."""
    figures("abuse", handshakes=len(HANDSHAKES), frames=len(FRAMES))
    assert len(HANDSHAKES) + len(FRAMES) >= 150
    with RawClient(server.address, TOKEN) as client:
        client.send(frame(TEXT, PING_COMMAND))
        assert client.texts(1, "ok")
