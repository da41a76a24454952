"""The engines in their processes: pocketsphinx and pico themselves, their crashes and their ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator

import pytest
from vivavoce import ConfigError, ProviderLoadError, Voice
from vivavoce.testing import no_leaks
from vivavoce_local_provider import _worker
from vivavoce_local_provider._worker import Worker, WorkerDiedError
from vivavoce_local_provider.pico import PicoProvider
from vivavoce_local_provider.pocketsphinx import PocketsphinxProvider

pytest.importorskip("pocketsphinx", reason="the engine pocketsphinx is not installed")
pytest.importorskip("ttspico", reason="the engine pico is not installed")

PICO = {"language": "en-US", "rate": 100, "pitch": 100, "volume": 100}


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def speak(voice: Voice, text: str | AsyncIterator[str], **options: object) -> bytes:
    return b"".join([chunk async for chunk in await voice.speak(text, **options)])  # type: ignore[arg-type]


async def test_a_worker_answers_and_ends() -> None:
    """It leaves no process, task, thread or descriptor behind; closing twice is once."""
    async with no_leaks():
        worker = Worker("pico")
        await worker.start()
        pid = worker.pid
        assert pid is not None
        assert await worker.call("load", PICO) is None
        assert [len(part) > 1000 async for part in worker.stream("speak", {**PICO, "text": "Yes."})] == [True]
        await worker.close()
        await worker.close()
        assert not runs(pid)


@pytest.mark.parametrize("again", [0, 1, 3])
@pytest.mark.parametrize("turns", range(1, 9))
def test_a_start_that_is_cancelled_leaves_nothing(turns: int, again: int) -> None:
    """Whenever that happens, once or twice: who gave up the start closes the worker, and its process and pipes end
    before the loop may. What is left at its end is a warning, which fails the test."""

    async def give_up() -> None:
        worker = Worker("pocketsphinx")
        start = asyncio.create_task(worker.start())
        for cancelled_after in (turns, again):
            for _ in range(cancelled_after):
                await asyncio.sleep(0)
            start.cancel()
        await asyncio.wait({start})
        await worker.close()

    asyncio.run(give_up())
    gc.collect()


async def test_closed_while_it_starts() -> None:
    """The one who starts it is told, and nothing is left."""
    async with no_leaks():
        worker = Worker("pocketsphinx")
        start = asyncio.create_task(worker.start())
        await asyncio.sleep(0)
        await worker.close()
        with pytest.raises(WorkerDiedError):
            await start


async def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within the deadline: its process is killed, and the call says so."""
    worker = Worker("pico")
    await worker.start()
    await worker.call("load", PICO)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    monkeypatch.setattr(_worker, "ANSWER_DEADLINE", 0.05)
    with pytest.raises(WorkerDiedError, match="did not answer"):
        await worker.call("load", PICO)
    await worker.close()
    with pytest.raises(WorkerDiedError, match="has ended"):
        await worker.call("load", PICO)


async def test_a_cancelled_call_leaves_the_worker_usable() -> None:
    """Its late answer is dropped."""
    worker = Worker("pico")
    await worker.start()
    call = asyncio.create_task(worker.call("speak", {**PICO, "text": "A long sentence. " * 20}))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call})
    assert await worker.call("load", PICO) is None
    await worker.close()


async def test_a_worn_engine_starts_afresh() -> None:
    """The process replaces itself, and whoever asks notices nothing."""
    worker = Worker("pico")
    await worker.start()
    text = "word " * 450
    sizes = []
    for _ in range(4):
        parts = [len(part) async for part in worker.stream("speak", {**PICO, "rate": 20, "text": text})]
        sizes.append(sum(parts))
    assert sum(sizes[:3]) > 16 * 1024 * 1024
    assert len(set(sizes)) == 1
    await worker.close()


async def test_pico_speaks_six_languages() -> None:
    """Each speaker gives audio at 16 kHz; text may come in pieces."""
    voice = Voice("pico")
    speakers = await voice.get_speakers()
    assert [s.id for s in speakers] == ["en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT"]
    for speaker in speakers:
        assert len(await speak(voice, "Radio.", speaker=speaker.id)) > 8_000

    async def pieces() -> AsyncIterator[str]:
        for piece in ("Good mor", "ning. It is", " late."):
            yield piece

    assert len(await speak(voice, pieces())) > 30_000
    await voice.close()


async def test_pico_heeds_its_options() -> None:
    """Twice the rate is about half as long; what cannot be said is left out."""
    voice = Voice("pico", rate=2.0)
    text = "One two three four five."
    fast, slow = len(await speak(voice, text)), len(await speak(voice, text, rate=1.0))
    assert 0.4 < fast / slow < 0.8
    assert len(await speak(voice, "a\0b <break> c.")) > 0
    assert await speak(voice, "  ") == b""
    with pytest.raises(ConfigError, match="pico has en-US"):
        await voice.speak("x", speaker="klingon")
    with pytest.raises(ConfigError, match=r"from 0\.2 to 5\.0"):
        await voice.speak("x", rate=9)
    with pytest.raises(ConfigError, match="unknown option 'speed'"):
        await voice.speak("x", speed=1)
    await voice.close()


async def test_pico_comes_back_after_a_crash() -> None:
    """The next sentence is spoken by a new process, and an error event tells."""
    provider = PicoProvider()
    voice = Voice(provider)
    errors: list[str] = []
    voice.on("error", lambda error: errors.append(error.code))
    whole = await speak(voice, "Once more.")
    assert provider._worker is not None
    assert provider._worker.pid is not None

    async def killing() -> AsyncIterator[str]:
        os.kill(provider._worker.pid, signal.SIGKILL)  # type: ignore[union-attr, arg-type]
        yield "Once more."

    assert await speak(voice, killing()) == whole
    assert errors in ([], ["engine_restarted"])  # the loop may see the end of the process before it is asked
    await voice.close()


async def test_pocketsphinx_hears_phrases_and_grammars(clip: dict[str, bytes]) -> None:
    """Open vocabulary, a list of phrases, a grammar; what cannot be used is named."""
    voice = Voice("pocketsphinx")
    assert (await voice.get_listener()).enabled is True
    audio = clip["eight-plus-three"]
    assert await voice.listen(audio) == "eight plus three"
    assert await voice.listen(audio, phrases=["Eight plus three!", "go home"]) == "eight plus three"
    grammar = "#JSGF V1.0; grammar g; public <sum> = <n> plus <n>; <n> = one | three | eight;"
    assert await voice.listen(audio, grammar=grammar) == "eight plus three"
    assert await voice.listen(audio) == "eight plus three"
    with pytest.raises(ConfigError, match="xyzzy"):
        await voice.listen(audio, phrases=["say xyzzy"])
    taught = {"xyzzy": "Z IH Z IY"}
    assert (
        await voice.listen(audio, phrases=["say xyzzy", "eight plus three"], pronunciations=taught)
        == "eight plus three"
    )
    with pytest.raises(ConfigError, match="ARPAbet"):
        await voice.listen(audio, pronunciations={"plugh": "QQ"})
    with pytest.raises(ConfigError, match="JSGF"):
        await voice.listen(audio, grammar="not a grammar")
    with pytest.raises(ConfigError, match="unknown option 'language'"):
        await voice.listen(audio, language="de")
    assert await voice.listen(b"") == ""
    await voice.close()


async def test_pocketsphinx_listens_to_several_at_once(clip: dict[str, bytes]) -> None:
    """Each has a process of its own; one is kept."""
    async with no_leaks():
        provider = PocketsphinxProvider()
        voice = Voice(provider)
        texts = await asyncio.gather(*(voice.listen(clip["eight-plus-three"]) for _ in range(2)))
        assert texts == ["eight plus three"] * 2
        assert len(provider._all) == 1
        await voice.close()
        assert provider._all == set()


async def test_pocketsphinx_hears_again_after_a_crash(clip: dict[str, bytes]) -> None:
    """The audio so far goes to a new process, once, and an error event tells."""
    provider = PocketsphinxProvider()
    voice = Voice(provider)
    errors: list[str] = []
    voice.on("error", lambda error: errors.append(error.code))

    async def audio() -> AsyncIterator[bytes]:
        pcm = clip["eight-plus-three"]
        yield pcm[:40_000]
        (worker,) = provider._all
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        yield pcm[40_000:]

    assert await voice.listen(audio()) == "eight plus three"
    assert errors == ["engine_restarted"]
    await voice.close()


async def test_a_cancelled_listen_keeps_the_engine(clip: dict[str, bytes]) -> None:
    """The utterance is abandoned; the next one is heard by the same process."""
    provider = PocketsphinxProvider()
    voice = Voice(provider)
    await voice.get_listener()
    before = {worker.pid for worker in provider._all}
    stuck = asyncio.Event()

    async def audio() -> AsyncIterator[bytes]:
        yield clip["hello"]
        stuck.set()
        await asyncio.Event().wait()

    listening = asyncio.create_task(voice.listen(audio()))
    await stuck.wait()
    listening.cancel()
    await asyncio.wait({listening})
    assert await voice.listen(clip["eight-plus-three"]) == "eight plus three"
    assert {worker.pid for worker in provider._all} == before
    await voice.close()


async def test_a_missing_engine_says_what_to_install() -> None:
    """The error names the extra."""
    worker = Worker("pocketsphinx")
    error = worker._error("engine_missing", "No module named 'pocketsphinx'")
    assert isinstance(error, ProviderLoadError)
    assert 'pip install "vivavoce-local-provider[pocketsphinx]"' in str(error)
