"""
A Consul agent. First line on stdout: `port N`; then `METHOD TARGET token=T` for each request.

    consulfake.py [--port N] [--mode MODE] [--token T] [--service NAME=HOST:PORT …]

MODE: ok, refusing (500), garbage, huge, deep, slow, redirect, backwards (its index falls),
shy (500 to the first two), forgetful (drops all that is registered when it is passed a second time).
A line `add NAME=HOST:PORT` or `remove NAME=HOST:PORT` on stdin changes who is healthy. Answers have the shape of tests/data/consul.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

Service = dict[str, object]


class Registry:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.changed = threading.Condition()
        self.index = 12
        self.asked = 0
        self.services: dict[str, Service] = {}
        self.passing: set[str] = set()
        self.passes = 0

    def change(self, service: Service, *, healthy: bool | None) -> None:
        """healthy: None when it goes."""
        name = str(service["ID"])
        with self.changed:
            self.passing.discard(name)
            if healthy is None:
                self.services.pop(name, None)
            else:
                self.services[name] = service
                self.passing |= {name} if healthy else set()
            self.index += 1
            self.changed.notify_all()

    def healthy(self, name: str, index: int, wait: float) -> tuple[int, list[object]]:
        with self.changed:
            self.changed.wait_for(lambda: self.index > index or not index, wait)
            found = [entry(each) for key, each in self.services.items() if each["Name"] == name and key in self.passing]
            self.asked += 1
            return (max(1, 20 - 9 * self.asked) if self.mode == "backwards" else self.index), found


def entry(service: Service) -> object:
    address, port = service["Address"], service["Port"]
    tagged = {f"{name}_ipv4": {"Address": address, "Port": port} for name in ("lan", "wan")}
    node = {"lan": "127.0.0.1", "lan_ipv4": "127.0.0.1", "wan": "127.0.0.1", "wan_ipv4": "127.0.0.1"}
    indices = {"CreateIndex": 10, "ModifyIndex": 12}
    return {
        "Node": {
            "ID": "00000000-0000-4000-8000-000000000001",
            "Node": "node-1",
            "Address": "127.0.0.1",
            "Datacenter": "dc1",
            "TaggedAddresses": node,
            "Meta": {"consul-network-segment": ""},
            **indices,
        },
        "Service": {
            "ID": service["ID"],
            "Service": service["Name"],
            "Tags": service.get("Tags", []),
            "Address": address,
            "TaggedAddresses": tagged,
            "Meta": service.get("Meta", {}),
            "Port": port,
            "Weights": {"Passing": 1, "Warning": 1},
            "EnableTagOverride": False,
            "Proxy": {"MeshGateway": {}, "Expose": {}},
            "Connect": {},
            **indices,
        },
        "Checks": [check("serfHealth", "", ""), check(f"service:{service['ID']}", str(service["ID"]), str(service["Name"]))],
    }


def check(name: str, service: str, kind: str) -> object:
    return {
        "Node": "node-1",
        "CheckID": name,
        "Name": name,
        "Status": "passing",
        "Notes": "",
        "Output": "",
        "ServiceID": service,
        "ServiceName": kind,
        "ServiceTags": [],
        "Type": "ttl" if service else "",
        "Definition": {},
        "CreateIndex": 10,
        "ModifyIndex": 12,
    }


class Agent(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry
    token = ""

    def do_GET(self) -> None:
        self._tell()
        if self._misbehaves():
            return
        if self._refuses("ACL not found") or (self.token and not self.headers.get("X-Consul-Token")):
            return
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        wait = float(query.get("wait", "0s").removesuffix("s"))
        index, found = self.registry.healthy(unquote(url.path).rsplit("/", 1)[1], int(query.get("index", 0)), wait)
        self._answer(200, json.dumps(found), {"X-Consul-Index": str(index), "Content-Type": "application/json"})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._tell()
        if self._refuses("Permission denied: Missing service:write"):
            return
        *_, verb, name = unquote(urlsplit(self.path).path).split("/")
        if name == "register":
            document = json.loads(body)
            self.registry.change(document, healthy=document["Check"].get("Status") == "passing")
        elif verb == "deregister":
            self.registry.change({"ID": name}, healthy=None)
        elif not self._passes(name.removeprefix("service:")):
            self._answer(500, f'CheckID "{name}" does not have associated TTL')
            return
        self._answer(200, "")

    def _passes(self, name: str) -> bool:
        self.registry.passes += 1
        if self.registry.mode == "forgetful" and self.registry.passes == 2:
            self.registry.change({"ID": name}, healthy=None)
        if service := self.registry.services.get(name):
            self.registry.change(service, healthy=True)
        return service is not None

    def _misbehaves(self) -> bool:
        mode = self.registry.mode
        self.registry.asked += mode == "shy"
        if mode == "refusing" or (mode == "shy" and self.registry.asked <= 2):
            self._answer(500, f"No cluster leader\x1b[2J {self.headers.get('X-Consul-Token', '')}")
        elif mode == "redirect":
            self._answer(301, "", {"Location": f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere"})
        elif mode in ("garbage", "huge", "deep"):
            self._answer(200, {"garbage": "<html>", "huge": "[" + "0," * (1 << 20) + "0]", "deep": "[" * 100_000}[mode])
        elif mode == "slow":
            time.sleep(60)
        else:
            return False
        return True

    def _refuses(self, why: str) -> bool:
        """As the real one: a wrong token is refused; reading without one shows an empty list."""
        token = self.headers.get("X-Consul-Token", "")
        if token == self.token:
            return False
        if not token and self.command == "GET":
            self._answer(200, "[]", {"X-Consul-Index": str(self.registry.index), "Content-Type": "application/json"})
            return False
        self._answer(403, why)
        return True

    def _answer(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "text/plain; charset=utf-8"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def _tell(self) -> None:
        print(f"{self.command} {self.path} token={self.headers.get('X-Consul-Token', '')}", flush=True)

    def log_message(self, format: str, *values: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that gave up


def service(text: str) -> Service:
    name, _, endpoint = text.partition("=")
    host, _, port = endpoint.rpartition(":")
    return {"ID": f"{name}-{endpoint}", "Name": name, "Address": host, "Port": int(port)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", default="ok")
    parser.add_argument("--token", default="")
    parser.add_argument("--service", action="append", default=[])
    options = parser.parse_args()
    registry = Agent.registry = Registry(options.mode)
    Agent.token = options.token
    for each in options.service:
        registry.change(service(each), healthy=True)
    server = Server(("127.0.0.1", options.port), Agent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"port {server.server_address[1]}", flush=True)
    for line in sys.stdin:
        verb, _, what = line.strip().partition(" ")
        registry.change(service(what), healthy=True if verb == "add" else None)
    server.shutdown()


main()
