"""The page in a real browser, with a microphone that is fed from recorded speech."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shutil
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_speech import speech
from vivavoce_gateway import GatewayConfig

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.real_speech,
    pytest.mark.skipif(
        BROWSER is None or DRIVER is None, reason="Debian's chromium and chromium-driver are not installed"
    ),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("pocketsphinx", "ttspico")),
        reason="the speech engines are not installed",
    ),
]
PHRASES = {"phrases": ["eight plus three", "hello"]}
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]


@pytest.fixture
def microphone(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A greeting, whose answer is long, and two seconds later, into the answer, a sum; or what a test gives.

    The sum is asked again when all is quiet: the browser's echo canceller may take the first words that are spoken
    over a reply for its echo.
    """
    ask = speech("eight-plus-three", silence_ms=8000)
    said = speech("hello", silence_ms=2000) + ask + ask
    file = tmp_path / "microphone.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(24_000)
        out.writeframes(getattr(request, "param", bytes(24_000) + said))
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
        "--window-size=1280,860",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


class Page:
    """What a user does with the page, and sees."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        driver.get(url)
        self.wait(lambda: driver.find_elements(By.CSS_SELECTOR, "#model option"))

    def wait(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        """Poll the page until `condition` holds; a failure tells what the page showed instead."""
        limit = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > limit:
                shown = {name: self.text(name) for name in ("status", "transcript", "playing")}
                pytest.fail(
                    f"the page did not come to it in time: {shown} {self.event_types()} {self.problems()}"
                )
            time.sleep(0.05)
        return found

    def click(self, id: str) -> None:
        self.driver.find_element(By.ID, id).click()

    def choose(self, id: str, name: str) -> None:
        Select(self.driver.find_element(By.ID, id)).select_by_visible_text(name)

    def text(self, id: str) -> str:
        return str(self.driver.find_element(By.ID, id).text)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def event_types(self) -> list[str]:
        """Oldest first."""
        found: list[str] = self.run(
            "[...document.querySelectorAll('#events li')].map(li => li.dataset.type).reverse()"
        )
        return found

    def problems(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def speak(driver: Any, url: str, transport: str, folder: Path) -> None:
    page = Page(driver, url)
    page.choose("transport", transport)
    loudest = "(window.loudest = 0, setInterval(() => window.loudest = Math.max(window.loudest, document.getElementById('level-out').value), 20))"
    page.run(loudest)
    page.click("connect")
    page.wait(lambda: page.text("status") == f"Connected to local by {transport}")
    assert not driver.find_element(By.ID, "transport").is_enabled()
    page.click("mic")
    page.wait(lambda: "hello" in page.text("transcript"))
    page.wait(lambda: "I can do sums" in page.text("transcript"))
    page.wait(lambda: "conversation.item.truncated" in page.event_types())
    page.wait(lambda: "eight plus three" in page.text("transcript"))
    page.wait(lambda: "is 11" in page.text("transcript"))
    page.wait(lambda: page.event_types().count("response.done") >= 2)
    assert page.run("window.loudest") > 0.3
    assert re.search(r"interrupted after [0-9.]+ s", page.text("transcript"))
    assert re.match(r"Last \d+ ms", page.text("latency-words"))
    page.wait(lambda: page.text("playing") == "quiet")
    page.run("document.querySelector('#events details').open = true")
    for look in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": look}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        driver.save_screenshot(str(folder / f"gateway-page-{transport}-{look}.png"))
    page.click("save")
    page.click("connect")
    page.wait(lambda: page.text("status") == "Not connected")
    assert page.problems() == []


CALLABLE = importlib.util.find_spec("aiortc") is not None
TRANSPORTS = [
    "WebSocket",
    pytest.param("WebRTC", marks=pytest.mark.skipif(not CALLABLE, reason="aiortc is not installed")),
]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_conversation_in_a_browser(serve: Any, browser: Any, transport: str) -> None:
    """The page connects, hears recorded speech, shows the right transcript, plays a reply that can be heard, and is
    interrupted; nothing goes wrong in its console."""
    gateway = await serve(GatewayConfig(config=PHRASES))
    kept = Path(__file__).parents[2] / "build"
    kept.mkdir(exist_ok=True)
    await asyncio.to_thread(speak, browser, gateway.http, transport, kept)
    for look in ("light", "dark"):
        assert (kept / f"gateway-page-{transport}-{look}.png").stat().st_size > 20_000
    await gateway.gateway.drained(5)
    assert not len(gateway.gateway.calls)


def write(driver: Any, url: str, transport: str) -> None:
    page = Page(driver, url)
    assert page.driver.find_element(By.ID, "say").get_attribute("disabled")
    # By keyboard alone; once connected, the message field has the focus.
    driver.find_element(By.ID, "transport").send_keys(transport)
    driver.find_element(By.ID, "connect").send_keys(Keys.ENTER)
    page.wait(lambda: page.text("status") == f"Connected to local by {transport}")
    driver.switch_to.active_element.send_keys("What is two plus two?", Keys.ENTER)
    page.wait(lambda: "is 4" in page.text("transcript"))
    page.wait(lambda: page.text("playing") == "speaking")
    driver.find_element(By.ID, "stop").send_keys(Keys.ENTER)
    page.wait(lambda: "conversation.item.truncated" in page.event_types())
    page.wait(lambda: "interrupted after" in page.text("transcript"))
    page.wait(lambda: page.text("playing") == "quiet")
    assert page.problems() == []
    unlabelled = page.run(
        "[...document.querySelectorAll('input,select,button')].filter(e => !(e.labels?.length || e.textContent.trim()"
        " || e.getAttribute('aria-label'))).map(e => e.id)"
    )
    assert unlabelled == []
    page.click("connect")
    page.wait(lambda: page.text("status") == "Not connected")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_writing_by_keyboard(serve: Any, browser: Any, transport: str) -> None:
    """Without a microphone and without a mouse: text in, voice out, and the reply can be stopped."""
    gateway = await serve(GatewayConfig())
    await asyncio.to_thread(write, browser, gateway.http, transport)


def hold(driver: Any, url: str, transport: str) -> None:
    page = Page(driver, url)
    page.choose("transport", transport)
    page.choose("turns", "by hand (hold Space)")
    page.click("connect")
    page.wait(lambda: page.text("status").startswith("Connected"))
    page.click("mic")
    page.wait(lambda: driver.find_element(By.ID, "mic").get_attribute("aria-pressed") == "true")
    driver.find_element(By.ID, "hold").send_keys("")  # the focus
    ActionChains(driver).key_down(Keys.SPACE).pause(8).key_up(Keys.SPACE).perform()
    page.wait(lambda: "eight plus three" in page.text("transcript"))
    page.wait(lambda: "is 11" in page.text("transcript"))
    assert "input_audio_buffer.speech_started" not in page.event_types()
    assert page.event_types().count("input_audio_buffer.committed") == 1
    assert page.problems() == []
    page.click("connect")
    page.wait(lambda: page.text("status") == "Not connected")


# On a busy machine it takes a while from the microphone's first sound to the key.
LATER = bytes(2 * 24_000 * 3) + speech("eight-plus-three", silence_ms=20_000)


@pytest.mark.parametrize("microphone", [pytest.param(LATER, id="later")], indirect=True)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_turns_by_hand(serve: Any, browser: Any, transport: str) -> None:
    """What is said while Space is held is the turn, and nothing else is."""
    gateway = await serve(GatewayConfig(config=PHRASES))
    await asyncio.to_thread(hold, browser, gateway.http, transport)


def refused(driver: Any, url: str) -> str:
    page = Page(driver, url)
    page.choose("transport", "WebRTC")
    page.click("connect")
    page.wait(lambda: page.text("status").startswith("Cannot connect"))
    assert driver.find_element(By.ID, "transport").is_enabled()
    return page.text("status")


async def test_gateway_without_webrtc(serve: Any, browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed the page says what to do, and WebSocket can be chosen instead."""
    monkeypatch.setitem(sys.modules, "vivavoce_gateway.calls", None)
    gateway = await serve(GatewayConfig())
    told = await asyncio.to_thread(refused, browser, gateway.http)
    assert 'pip install "vivavoce-gateway[webrtc]"' in told


async def test_page_needs_nothing_from_elsewhere(serve: Any) -> None:
    """Every file of the page is here, and a policy forbids the rest."""
    gateway = await serve(GatewayConfig())
    async with httpx.AsyncClient(base_url=gateway.http) as http:
        page = await http.get("/")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert re.findall(r"https?://", page.text) == []
        for name in re.findall(r'(?:href|src)="([^"#]+)"', page.text):
            assert (await http.get("/" + name)).status_code == 200
        assert (await http.get("/no-such-file.js")).status_code == 404
        assert (await http.get("/..%2f..%2fserve.py")).status_code == 404
