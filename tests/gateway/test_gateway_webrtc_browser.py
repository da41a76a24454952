"""A browser's own WebRTC against the gateway, in the official flow, with a microphone fed from recorded speech."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import threading
import time
import wave
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_speech import speech
from gateways import check_official
from vivavoce_gateway import GatewayConfig

pytest.importorskip("selenium", reason="selenium is not installed")
pytest.importorskip("aiortc", reason="aiortc is not installed")

from aioice.ice import get_host_addresses
from selenium import webdriver

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.real_speech,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None, reason="Debian's chromium and chromium-driver are not installed"
    ),
    pytest.mark.skipif(
        not get_host_addresses(True, True), reason="a browser calls over a network; there is none"
    ),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("pocketsphinx", "ttspico")),
        reason="the speech engines are not installed",
    ),
]
PHRASES = {"phrases": ["go forward ten meters", "eight plus three", "hello"]}
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]

METERS = {"type": "object", "properties": {"meters": {"type": "integer"}}, "required": ["meters"]}
TOOL = {
    "type": "function",
    "name": "go_forward",
    "description": "Go forward some meters.",
    "parameters": METERS,
}
SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "tools": [TOOL],
    "audio": {"input": {"transcription": {"model": "whisper-1"}}},
}

# As in the guide "Realtime API with WebRTC": the offer goes alone, or with a session.
CALL = """
const [gateway, key, session, done] = arguments;
window.events = []; window.loudest = 0;
(async () => {
  const pc = window.pc = new RTCPeerConnection();
  pc.ontrack = e => {
    const player = document.createElement("audio");
    player.autoplay = true; player.srcObject = e.streams[0];
    const context = new AudioContext(), analyser = context.createAnalyser();
    context.createMediaStreamSource(e.streams[0]).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      window.loudest = Math.max(window.loudest, ...samples.map(Math.abs));
    }, 50);
  };
  const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const microphone = await navigator.mediaDevices.getUserMedia({audio: plain});
  pc.addTrack(microphone.getTracks()[0], microphone);
  const channel = pc.createDataChannel("oai-events");
  channel.onmessage = message => {
    const event = JSON.parse(message.data);
    window.events.push(event);
    if (event.type == "response.function_call_arguments.done") {
      const item = {type: "function_call_output", call_id: event.call_id, output: "arrived"};
      channel.send(JSON.stringify({type: "conversation.item.create", item}));
      channel.send(JSON.stringify({type: "response.create"}));
    }
  };
  await pc.setLocalDescription(await pc.createOffer());
  let body = pc.localDescription.sdp, headers = {Authorization: `Bearer ${key}`};
  if (session) {
    body = new FormData();
    body.set("sdp", pc.localDescription.sdp);
    body.set("session", JSON.stringify(session));
  } else headers["Content-Type"] = "application/sdp";
  const answer = await fetch(`${gateway}/v1/realtime/calls`, {method: "POST", body, headers});
  if (answer.status != 201) throw new Error(await answer.text());
  window.place = answer.headers.get("Location");
  await pc.setRemoteDescription({type: "answer", sdp: await answer.text()});
  await new Promise(opened => channel.onopen = opened);
  done("open");
})().catch(error => done(String(error)));
"""


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """A request that needs the tool, a greeting, whose answer is long, and two seconds later, into the answer, a sum."""
    file = tmp_path / "microphone.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(24_000)
        out.writeframes(bytes(2 * 24_000) + speech("go-forward-ten-meters", silence_ms=2400))
        out.writeframes(speech("hello", silence_ms=2000) + speech("eight-plus-three", silence_ms=8000))
    return file


@pytest.fixture
def browser(tmp_path: Path, microphone: Path) -> Iterator[Any]:
    """A headless Chromium without a profile."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", *QUIET),
        *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        "--autoplay-policy=no-user-gesture-required",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


def wait(condition: Callable[[], Any], what: str, seconds: float = 25) -> Any:
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, what
        time.sleep(0.05)
    return found


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A page of another origin than the gateway's."""

    class Blank(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>an app</title>")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def call(
    driver: Any, page: str, gateway: str, key: str, session: dict[str, Any] | None
) -> list[dict[str, Any]]:
    driver.get(page)
    assert driver.execute_async_script(CALL, gateway, key, session) == "open"
    assert driver.execute_script("return window.place").startswith("/v1/realtime/calls/rtc_")

    def events(type: str) -> list[dict[str, Any]]:
        script = "return window.events.filter(event => event.type == arguments[0])"
        found: list[dict[str, Any]] = driver.execute_script(script, type)
        return found

    for type, count in (
        ("response.function_call_arguments.done", 1),
        ("output_audio_buffer.stopped", 1),
        ("output_audio_buffer.cleared", 1),
        ("conversation.item.truncated", 1),
        ("conversation.item.input_audio_transcription.completed", 3),
    ):
        wait(lambda type=type, count=count: len(events(type)) >= count, f"{count} {type}")
    assert driver.execute_script("return window.loudest") > 0.2
    seen: list[dict[str, Any]] = driver.execute_script("return window.events")
    driver.execute_script("window.pc.close()")
    return seen


async def test_call_from_a_browser(serve: Any, browser: Any) -> None:
    """Connect, speech in, transcript, a tool call, an audible reply, barge-in, close; every event an official one."""
    gateway = await serve(GatewayConfig(config=PHRASES))
    seen = await asyncio.to_thread(call, browser, gateway.http, gateway.http, "any-key", SESSION)
    check_conversation(seen)
    await check_end(gateway)


async def test_call_with_an_ephemeral_key_from_another_origin(
    serve: Any, browser: Any, elsewhere: str
) -> None:
    """The same, as an app does it whose server keeps the key: its page has an ephemeral one, with the session in it."""
    gateway = await serve(GatewayConfig(config=PHRASES, keys=("right",), origins=(elsewhere,)))
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        headers = {"Authorization": "Bearer right"}
        made = await http.post("/v1/realtime/client_secrets", json={"session": SESSION}, headers=headers)
    key = made.json()["value"]
    seen = await asyncio.to_thread(call, browser, elsewhere, gateway.http, key, None)
    check_conversation(seen)
    await check_end(gateway)


async def test_page_of_an_origin_that_is_not_allowed(serve: Any, browser: Any, elsewhere: str) -> None:
    """The browser itself keeps it from calling."""
    gateway = await serve(GatewayConfig(config=PHRASES, origins=("https://other.example",)))

    def refused() -> str:
        browser.get(elsewhere)
        return str(browser.execute_async_script(CALL, gateway.http, "any-key", SESSION))

    assert "Failed to fetch" in await asyncio.to_thread(refused)
    assert not len(gateway.gateway.calls)


def check_conversation(seen: list[dict[str, Any]]) -> None:
    for event in seen:
        check_official(event)
    by_type: dict[str, list[dict[str, Any]]] = {}
    for event in seen:
        by_type.setdefault(event["type"], []).append(event)
    heard = [
        event["transcript"] for event in by_type["conversation.item.input_audio_transcription.completed"]
    ]
    assert heard == ["go forward ten meters", "hello", "eight plus three"]
    assert by_type["response.function_call_arguments.done"][0]["arguments"] == '{"meters":10}'
    said = [event["transcript"] for event in by_type["response.output_audio_transcript.done"]]
    assert "arrived" in said[0]
    assert "I can do sums" in said[1]
    assert 0 < by_type["conversation.item.truncated"][0]["audio_end_ms"] < 4_500
    assert "response.output_audio.delta" not in by_type
    assert "error" not in by_type


async def check_end(gateway: Any) -> None:
    """The client has gone: nothing of its call is left."""
    async with asyncio.timeout(10):
        while gateway.gateway.sessions:
            await asyncio.sleep(0.05)
    await gateway.gateway.calls.ended(5)
    assert gateway.gateway.places.taken == 0
