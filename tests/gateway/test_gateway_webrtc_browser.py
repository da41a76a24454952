"""A browser's own WebRTC against the gateway, in the official flow, with a microphone fed from recorded speech."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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

# As in the guide "Realtime API with WebRTC", with a tool.
CALL = """
const done = arguments[arguments.length - 1];
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
  const meters = {type: "object", properties: {meters: {type: "integer"}}, required: ["meters"]};
  const tool = {type: "function", name: "go_forward", description: "Go forward some meters.", parameters: meters};
  const audio = {input: {transcription: {model: "whisper-1"}}};
  const form = new FormData();
  form.set("sdp", pc.localDescription.sdp);
  form.set("session", JSON.stringify({type: "realtime", model: "gpt-realtime", tools: [tool], audio}));
  const answer = await fetch("/v1/realtime/calls", {
    method: "POST", body: form, headers: {Authorization: "Bearer any-key"},
  });
  if (answer.status != 201) throw new Error(await answer.text());
  window.place = answer.headers.get("Location");
  await pc.setRemoteDescription({type: "answer", sdp: await answer.text()});
  await new Promise(opened => channel.onopen = opened);
  done("open");
})().catch(error => done(String(error)));
"""


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """A request that needs the tool, a sum, and one and a half seconds later, into the answer, a greeting."""
    file = tmp_path / "microphone.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(24_000)
        out.writeframes(bytes(2 * 24_000) + speech("go-forward-ten-meters", silence_ms=2400))
        out.writeframes(speech("eight-plus-three", silence_ms=1500) + speech("hello", silence_ms=6000))
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


def call(driver: Any, url: str) -> list[dict[str, Any]]:
    driver.get(url)
    assert driver.execute_async_script(CALL) == "open"
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
    seen = await asyncio.to_thread(call, browser, gateway.http)
    for event in seen:
        check_official(event)
    by_type: dict[str, list[dict[str, Any]]] = {}
    for event in seen:
        by_type.setdefault(event["type"], []).append(event)
    heard = [
        event["transcript"] for event in by_type["conversation.item.input_audio_transcription.completed"]
    ]
    assert heard == ["go forward ten meters", "eight plus three", "hello"]
    assert by_type["response.function_call_arguments.done"][0]["arguments"] == '{"meters":10}'
    said = [event["transcript"] for event in by_type["response.output_audio_transcript.done"]]
    assert "arrived" in said[0]
    assert "is 11" in said[1]
    assert 0 < by_type["conversation.item.truncated"][0]["audio_end_ms"] < 2_500
    assert "response.output_audio.delta" not in by_type
    assert "error" not in by_type
    async with asyncio.timeout(10):
        while gateway.gateway.sessions:
            await asyncio.sleep(0.05)
    await gateway.gateway.calls.ended(5)
    assert gateway.gateway.places.taken == 0
