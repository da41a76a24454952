"""Runs a client of the Realtime protocol in a browser: `browser_client.py BUNDLE URL FOLDER`, for `clients.py`.

Serves a page with the bundle at an address of its own, as an app would, with an ephemeral key for the gateway at URL; opens
it in a headless Chromium; and prints what the page tells of its conversation.
"""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--autoplay-policy=no-user-gesture-required",
)
MODEL = "gpt-realtime"
PAGE = b'<!doctype html><meta charset="utf-8"><title>a client</title><script type="module" src="/client.js"></script>'
DEADLINE = 120.0
GOODBYE = 10.0


def find_browser() -> str | None:
    """The browser there is."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Page(ThreadingHTTPServer):
    """The client's page. `told` gets what it sends."""

    def __init__(self, bundle: Path, folder: Path, gateway: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        self.files = {"/client.js": bundle, **{f"/{file.name}": file for file in folder.glob("*.pcm")}}
        self.gateway = gateway


class _Handler(BaseHTTPRequestHandler):
    server: Page

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer("text/html", PAGE)
        elif self.path == "/settings":
            settings = {"url": f"{self.server.gateway}/v1/realtime/calls", "model": MODEL}
            key = ephemeral_key(self.server.gateway)
            self._answer("application/json", json.dumps({**settings, "key": key}).encode())
        elif (file := self.server.files.get(self.path)) is not None:
            kind = "text/javascript" if file.suffix == ".js" else "application/octet-stream"
            self._answer(kind, file.read_bytes())
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self.server.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer("text/plain", b"")

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def ephemeral_key(gateway: str) -> str:
    """A key that the page may have, made as an app's server makes it."""
    body = json.dumps({"session": {"type": "realtime", "model": MODEL}}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer any"}
    request = urllib.request.Request(f"{gateway}/v1/realtime/client_secrets", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["value"])


def is_empty(gateway: str) -> bool:
    """Whether the gateway notices that the call has ended."""
    limit = time.monotonic() + GOODBYE
    while time.monotonic() < limit:
        with urllib.request.urlopen(f"{gateway}/healthz", timeout=10) as answer:
            if json.load(answer)["sessions"] == 0:
                return True
        time.sleep(0.1)
    return False


def converse(browser: str, page: Page) -> dict[str, Any]:
    """Open the page, and wait for what it tells."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"http://127.0.0.1:{page.server_port}/"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return page.told.get(timeout=DEADLINE)
        finally:
            running.terminate()
            running.wait(20)


def main() -> int:
    """Hold the conversation; 0 if the client held it without an error."""
    bundle, url, folder = sys.argv[1:]
    gateway = url.replace("ws://", "http://").removesuffix("/v1/realtime")
    browser = find_browser()
    if browser is None:
        print("no browser: install Debian's chromium", file=sys.stderr)
        return 1
    with Page(Path(bundle), Path(folder), gateway) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        told = converse(browser, page)
        page.shutdown()
    told["seen"]["closed"] &= is_empty(gateway)
    print(json.dumps(told["seen"]))
    if told["error"]:
        print(told["error"], file=sys.stderr)
    return 1 if told["error"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
