"""How does a page behave when its server misbehaves? A small HTTP server that serves the files of services/gateway/pages just as
a gateway does (same paths, same policy, read from the gateway's source), and answers the interface from a script: cut
sockets, broken events, refusals. With `--proxy http://127.0.0.1:8000` it passes the interface on instead, for work on a page:

    tests/pages/front.py 8080 --proxy http://127.0.0.1:8000
"""
import argparse
import http.client
import http.server
import json
import pathlib
import re
import socket
import threading
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ROOT / "services/gateway/pages"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".svg": "image/svg+xml", ".png": "image/png"}


def policy():
    source = (ROOT / "services/gateway/pages.cpp").read_text()
    return "".join(re.findall(r'"([^"]*)"', re.search(r"kPolicy =(.*?);\n", source, re.DOTALL)[1]))


class Call:
    """One request of the page, and what a script may answer to it."""

    def __init__(self, handler, body):
        self.handler, self.path, self.headers = handler, handler.path, handler.headers
        self.body = json.loads(body) if body else None
        self.size = len(body)

    def json(self, status, body, **headers):
        payload = json.dumps(body).encode()
        self.handler.send_response(status)
        self.handler.send_header("content-type", "application/json")
        self.handler.send_header("content-length", str(len(payload)))
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(payload)

    def refuse(self, status, message, code=None, kind="invalid_request_error", **headers):
        self.json(status, {"error": {"message": message, "type": kind, "param": None, "code": code}}, **headers)

    def begin(self):
        """The head of a stream; its end is the end of the connection."""
        self.handler.send_response(200)
        self.handler.send_header("content-type", "text/event-stream; charset=utf-8")
        self.handler.send_header("connection", "close")
        self.handler.close_connection = True
        self.handler.end_headers()
        return self

    def raw(self, text):
        self.handler.wfile.write(text.encode() if isinstance(text, str) else text)
        self.handler.wfile.flush()
        return self

    def event(self, body):
        return self.raw(f"data: {json.dumps(body)}\n\n")

    def delta(self, finish=None, **delta):
        return self.event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "usage": None,
                           "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def end(self, finish="stop", prompt=12, cached=8, completion=5):
        self.delta(finish)
        self.event({"id": "chatcmpl-1", "choices": [], "usage": {
            "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached}}})
        return self.raw("data: [DONE]\n\n")

    def cut(self):
        """The connection is gone, in the middle of a chunk: what a killed gateway looks like."""
        connection = self.handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.handler.close_connection = True
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def answer(text, reasoning="", **end):
    """A behaviour: the whole answer at once, properly ended."""
    def behave(call):
        call.begin().delta(role="assistant", content="")
        if reasoning:
            call.delta(reasoning_content=reasoning)
        call.delta(content=text)
        call.end(**end)
    return behave


class Front:
    """The server. `models` answers /v1/models; each chat takes the next behaviour of `script`, the last one again and again."""

    def __init__(self, port=0, proxy=None):
        self.calls, self.script, self.proxy = [], [answer("Yes.")], proxy
        self.gate = threading.Event()  # a behaviour may wait for the test: call.front.gate.wait()
        self.models = lambda call: call.json(200, {"object": "list", "data": [
            {"id": "scripted", "object": "model", "max_model_len": 4096, "pricing": None}]})
        self.lock = threading.Lock()
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                front.get(self)

            def do_POST(self):
                front.post(self)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # a browser that leaves is part of the test
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()

    def plays(self, *script):
        self.gate.clear()
        self.calls.clear()
        self.script = list(script)

    def get(self, handler):
        path = urllib.parse.urlsplit(handler.path).path
        file = {"/": "chat/index.html", "/cluster": "cluster/index.html"}.get(path, path.removeprefix("/assets/"))
        found = (PAGES / file).resolve()
        if path in ("/", "/cluster") or path.startswith("/assets/"):
            if found.is_file() and found.is_relative_to(PAGES):
                return self.send_file(handler, found)
            return Call(handler, b"").refuse(404, "there is no such page", "unknown_url")
        if self.proxy:
            return self.pass_on(handler, b"")
        if path == "/v1/models":
            return self.models(Call(handler, b""))
        return Call(handler, b"").refuse(404, "unknown", "unknown_url")

    def send_file(self, handler, path):
        payload = path.read_bytes()
        handler.send_response(200)
        handler.send_header("content-type", TYPES[path.suffix])
        handler.send_header("content-length", str(len(payload)))
        handler.send_header("cache-control", "no-cache")
        handler.send_header("content-security-policy", policy())
        handler.send_header("x-content-type-options", "nosniff")
        handler.send_header("referrer-policy", "no-referrer")
        handler.send_header("cross-origin-opener-policy", "same-origin")
        handler.end_headers()
        handler.wfile.write(payload)

    def post(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        if self.proxy:
            return self.pass_on(handler, body)
        call = Call(handler, body)
        call.front = self
        with self.lock:
            self.calls.append(call)
            behave = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        behave(call)

    def pass_on(self, handler, body):
        address = urllib.parse.urlsplit(self.proxy)
        try:
            connection = http.client.HTTPConnection(address.hostname, address.port)
            kept = {name: handler.headers[name] for name in ("content-type", "authorization") if name in handler.headers}
            connection.request(handler.command, handler.path, body or None, kept)
            response = connection.getresponse()
        except OSError as error:
            return Call(handler, b"").refuse(502, str(error))
        handler.send_response(response.status)
        handler.send_header("content-type", response.headers.get("content-type", ""))
        handler.send_header("connection", "close")
        handler.close_connection = True
        handler.end_headers()
        try:
            while piece := response.read1(65536):
                handler.wfile.write(piece)
                handler.wfile.flush()
        finally:
            connection.close()  # a browser that leaves makes the gateway see it


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("port", type=int)
    words.add_argument("--proxy")
    given = words.parse_args()
    front = Front(given.port, given.proxy)
    print(front.url, flush=True)
    front.server.serve_forever()


if __name__ == "__main__":
    main()
