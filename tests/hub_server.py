"""A stand-in for the hub on loopback: it takes what huggingface_hub sends, keeps it, and answers as the hub's API does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    address: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(method, path)"""
    repositories: dict[str, dict] = field(default_factory=dict)
    """What each was asked to be, by name."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Committed, by path."""
    refuses: bool = False
    head: str = "0" * 40
    """Commit that every revision of every repository is at."""


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_) -> None:
            return

        def answer(self, document: object, status: int = 200) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            hub.requests.append(("GET", self.path))
            self.answer({"id": "x", "siblings": [], "sha": hub.head})

        def do_POST(self) -> None:
            hub.requests.append(("POST", self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if hub.refuses:
                self.answer({"error": "you may not"}, 403)
            elif self.path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked.get('organization', 'me')}/{asked['name']}"
                hub.repositories[name] = asked
                self.answer({"url": f"{hub.address}/{name}", "name": name, "id": name})
            elif self.path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                self.answer({"files": [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in json.loads(body)["files"]]})
            elif "/commit/" in self.path:
                for line in map(json.loads, body.decode().splitlines()):
                    if line["key"] == "file":
                        hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.answer({"commitUrl": f"{hub.address}/me/lora/commit/{'a' * 40}", "commitOid": "a" * 40, "hookOutput": ""})
            else:
                self.answer({"error": f"no {self.path}"}, 404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
