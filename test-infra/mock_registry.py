#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A service registry for tests: which addresses does a WarpGrid name have?

    GET /healthz           200 "ok"
    GET /v1/services       {"services": {NAME: [ADDRESS, ...], ...}} with an ETag; 304 for the same
                           one in If-None-Match
    GET /v1/services/NAME  {"name": NAME, "addresses": [...]}; 404 for a name it does not know
    PUT /v1/services/NAME  body ["10.0.0.1", ...]: sets the addresses; DELETE forgets the name
"""
import argparse
import hashlib
import ipaddress
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PREFIX = "/v1/services"
SEED = {
    "db.test.warp.local": ["127.0.0.1"],
    "cache.test.warp.local": ["127.0.0.1"],
}


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    services = dict(SEED)

    def answer(self, status, body, headers=None):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode() + b"\n"
        kind = "text/plain" if isinstance(body, str) else "application/json"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def answer_tagged(self, body):
        tag = '"' + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16] + '"'
        if self.headers.get("if-none-match") == tag:
            self.send_response(304)
            self.send_header("etag", tag)
            self.end_headers()
        else:
            self.answer(200, body, {"etag": tag})

    def name(self):
        """The NAME of the path; None for the collection; answers 404 itself otherwise."""
        if self.path == PREFIX:
            return None
        if self.path.startswith(PREFIX + "/") and len(self.path) > len(PREFIX) + 1:
            return self.path[len(PREFIX) + 1 :].lower()
        self.answer(404, {"error": "no such path"})
        return False

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, "ok\n")
        name = self.name()
        if name is False:
            return None
        with self.lock:
            services = dict(self.services)
        if name is None:
            return self.answer_tagged({"services": services})
        if name not in services:
            return self.answer(404, {"error": f"no service '{name}'"})
        return self.answer(200, {"name": name, "addresses": services[name]})

    def do_PUT(self):
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), 1 << 20))
        name = self.name()
        if name is False:
            return None
        try:
            addresses = [str(ipaddress.ip_address(a)) for a in json.loads(body)]
        except (ValueError, TypeError) as e:
            return self.answer(400, {"error": f"want a JSON array of addresses: {e}"})
        if name is None:
            return self.answer(400, {"error": "want a name"})
        with self.lock:
            self.services[name] = addresses
        return self.answer(200, {"name": name, "addresses": addresses})

    def do_DELETE(self):
        name = self.name()
        if name is False:
            return None
        with self.lock:
            known = self.services.pop(name, None) is not None
        return self.answer(200 if known else 404, {"name": name, "removed": known})

    def log_message(self, *args):
        """Silent: the tests look at answers, not at an access log."""


def main():
    p = argparse.ArgumentParser(description="A service registry for tests.")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0, help="0: a free one, printed")
    a = p.parse_args()
    server = ThreadingHTTPServer((a.host, a.port), Registry)
    print(f"http://{a.host}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
