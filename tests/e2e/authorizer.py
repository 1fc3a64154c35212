"""A small authorizer: a real HTTP server whose behaviour a test chooses, and which notes every request."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Authorizer:
    """`behave` takes the handler and the question, and answers; `requests` has every question with its headers, `bodies` its bytes."""

    def __init__(self, behave, context=None):
        self.behave, self.requests, self.bodies, self.release = behave, [], [], threading.Event()
        authorizer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                question = json.loads(body)
                authorizer.bodies.append(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                authorizer.requests.append((self.path, headers, question))
                try:
                    authorizer.behave(self, question)
                except OSError:
                    self.close_connection = True  # the daemon has given up

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        scheme = "http"
        if context:
            self.server.socket, scheme = context.wrap_socket(self.server.socket, server_side=True), "https"
        self.url = f"{scheme}://localhost:{self.server.server_address[1]}/may-join?x=1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def questions(self):
        return [question for _, _, question in self.requests]

    def stop(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def send(handler, body, status=200, **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def by_name(handler, question):
    """Allows rooms that begin with `open:`."""
    send(handler, {"allow": question["room"].startswith("open:")})
