"""A judge on loopback: a real HTTP server that speaks the chat-completions API and really decodes the pictures that it is sent."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

from sana_bench.judge.endpoint import Endpoint


@dataclass(frozen=True)
class Asked:
    """One request as the server got it."""

    path: str
    headers: Mapping[str, str]
    body: dict

    @property
    def words(self) -> str:
        """All text of the request."""
        system, user = self.body["messages"]
        return "\n".join([system["content"], *(part["text"] for part in user["content"] if part["type"] == "text")])

    @property
    def pictures(self) -> list[np.ndarray]:
        """(H, W, 3) uint8 each, A first."""
        urls = [part["image_url"]["url"] for part in self.body["messages"][1]["content"] if part["type"] == "image_url"]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))).convert("RGB")) for url in urls]


@dataclass(frozen=True)
class Told:
    """One response."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def says(content: str | None) -> Told:
    """A chat completion with this text."""
    return Told(body=json.dumps({"model": "stub-2026", "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}], "usage": {}}))


def chooses(choice: str) -> Told:
    return says(json.dumps({"reason": "seen", "choice": choice}))


def detail(pixels_HW3: np.ndarray) -> float:
    """Mean absolute step between neighbouring pixels, in grey levels."""
    return float(np.abs(np.diff(pixels_HW3.astype(np.float64).mean(axis=2), axis=1)).mean())


def prefers_sharper(asked: Asked) -> Told:
    """An honest judge of sharpness, whatever the order: the picture with a twentieth more detail, else a tie."""
    a, b = map(detail, asked.pictures)
    return chooses("A" if a > 1.05 * b else "B" if b > 1.05 * a else "tie")


def always_first(asked: Asked) -> Told:
    return chooses("A")


def always_tie(asked: Asked) -> Told:
    return chooses("tie")


@dataclass
class JudgeServer:
    endpoint: Endpoint
    asked: list[Asked]


@contextmanager
def judge_server(answer: Callable[[Asked], Told], **settings) -> Iterator[JudgeServer]:
    """Serve `answer` until the block ends; `settings` are the endpoint's, beside its URL."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(Asked(self.path, dict(self.headers), json.loads(body)))
            told = answer(asked[-1])
            data = told.body.encode()
            try:
                self.send_response(told.status)
                for name, value in {**told.headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):  # the client did not wait
                return

        def log_message(self, *arguments: object) -> None:
            """Not on the tests' stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield JudgeServer(Endpoint(**{"url": url, "model": "stub", "backoff_s": 0.0, "timeout_s": 30.0, **settings}), asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
