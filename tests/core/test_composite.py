"""CompositeVoice: every combination of parts, the choice of a realtime provider, and the order of preference."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from conversation import FRAME, scenario, turns
from installed_site import Site
from vivavoce import CompositeVoice, Voice
from vivavoce.composite import realtime_candidates
from vivavoce.errors import (
    AuthenticationError,
    ConfigError,
    NotConnectedError,
    ProviderError,
    ProviderNotFoundError,
)
from vivavoce.events import ProviderFallback
from vivavoce.testing import Reply, ScriptedProvider, Step


class Part(ScriptedProvider):
    pass


FORMS = {
    "none": lambda: None,
    "name": lambda: "null",
    "class": lambda: Part,
    "object": lambda: Part(),
    "voice": lambda: Voice(Part()),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch, site: Site):
    """No provider but null is installed, and the environment names none."""
    from vivavoce import registry

    installed = registry.entries
    monkeypatch.setattr(
        registry, "entries", lambda group=registry.PROVIDERS: tuple(
            e for e in installed(group) if e.name == "null" or e.name.startswith("dummy") or group != registry.PROVIDERS
        ),
    )  # fmt: skip


@pytest.mark.parametrize("forms", list(itertools.product(FORMS, repeat=3)), ids="-".join)
@scenario
async def test_every_combination(forms):
    """Whatever form each part has, realtime calls go to the first, listen to the second, speak to the third."""
    realtime, input, output = (FORMS[form]() for form in forms)
    composite = CompositeVoice(realtime, input, output)
    await composite.connect()
    able = forms[0] not in ("none", "name")
    assert composite.state == ("open" if able else "idle")
    await composite.send(FRAME)
    assert await (await composite.answer()).text() == ("ok" if able else "")
    listens = forms[1] if input is not None else forms[0]
    assert await composite.listen(FRAME) == ("" if listens in ("none", "name") else "what was heard")
    assert (await composite.get_listener()).enabled == (listens not in ("none", "name"))
    speaks = forms[2] if output is not None else forms[0]
    assert bool([c async for c in await composite.speak("hi")]) == (speaks not in ("none", "name"))
    assert bool(await composite.get_speakers()) == (speaks not in ("none", "name"))
    assert ("listen" in composite.capabilities) == (listens not in ("none", "name"))
    assert ("speak" in composite.capabilities) == (speaks not in ("none", "name"))
    await composite.close()
    assert composite.state in ("closed", "idle")


@scenario
async def test_routes():
    """Each call reaches the part it belongs to, with its options."""
    realtime, input, output = Part(), Part(), Part()
    composite = CompositeVoice(realtime, input, output)
    async with composite:
        await composite.send(FRAME, rate=24_000)
        await composite.send_text("hi", role="system")
        await (await composite.answer(instructions="short")).done()
        await asyncio.sleep(1)
        await composite.commit_input()
        await composite.clear_input()
        await composite.add_tools([])
        await composite.add_instructions("x")
        await composite.update_config(a=1)
        await composite.send_event("x", a=1)
        await composite.interrupt()
        await composite.speak("hi", speaker="alma", style="s")
        await composite.get_speakers()
        await composite.listen(FRAME, language="de")
        await composite.get_listener()
        assert (composite.session_id, composite.provider) == ("session-1", "scripted")
        assert [item.text for item in composite.history] == ["hi", "ok"]
    hooks = {
        part: {call.hook for call in part.calls} - {"attach", "close"} for part in (realtime, input, output)
    }
    assert hooks[input] == {"listen", "get_listener"}
    assert hooks[output] == {"speak", "get_speakers"}
    assert not hooks[realtime] & (hooks[input] | hooks[output])
    assert output.called("speak")[0].args == ("hi", {"speaker": "alma", "style": "s"})


@scenario
async def test_one_part_for_all():
    """The same voice may stand in all places; it is closed once, counted once."""
    part = Part()
    voice = Voice(part)
    composite = CompositeVoice(voice, voice, voice)
    async with composite:
        await (await composite.answer()).done()
        usage = composite.usage
    assert usage == voice.usage
    assert len(part.called("close")) == 1


@scenario
async def test_close_closes_all_even_if_one_fails(caplog):
    """Each part is closed, whatever the others do, and the failure is told."""

    class Failing(Voice):
        async def close(self):
            await super().close()
            raise ValueError("cannot close")

    parts = [Part(), Part(), Part()]
    composite = CompositeVoice(Failing(parts[0]), Voice(parts[1]), Voice(parts[2]))
    await composite.connect()
    await composite.listen(FRAME)
    await composite.speak("hi")
    with pytest.raises(ValueError, match="cannot close"):
        await composite.close()
    assert [len(part.called("close")) for part in parts] == [1, 1, 1]


@scenario
async def test_cancelled_close_closes_all():
    """Cancelling close leaves no part open."""
    parts = [Part({"close": Step(delay=1)}), Part({"close": Step(delay=1)})]
    composite = CompositeVoice(parts[0], None, parts[1])
    await composite.connect()
    await composite.speak("hi")
    closing = asyncio.create_task(composite.close())
    await turns(3)
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()
    assert [len(part.called("close")) for part in parts] == [1, 1]


@scenario
async def test_close_before_anything():
    """Closing a composite that was never used chooses nothing and imports nothing."""
    await CompositeVoice().close()
    await CompositeVoice("null").close()


@scenario
async def test_close_from_its_listener():
    """A listener may close the composite."""
    from vivavoce.testing import current_clock

    composite = CompositeVoice(Part(), Part(), Part())

    async def close(event):
        await composite.close()

    composite.on("open", close)
    await composite.connect()
    await turns(20)
    assert (composite.state, current_clock().now) == ("closed", 0)


@scenario
async def test_interrupt_silences_output():
    """interrupt stops the reply and what `output` is saying."""
    realtime, output = Part(replies=[Reply("long", 3000, paced=True)]), Part()
    composite = CompositeVoice(realtime, output=output)
    async with composite:
        response = await composite.answer()
        speech = await composite.speak("word " * 500)
        await turns(3)
        await composite.interrupt()
        assert (response.audio.end_reason, speech.end_reason) == ("interrupted", "interrupted")
    composite = CompositeVoice(output=Part())
    speech = await composite.speak("word " * 500)
    await composite.interrupt()
    assert speech.end_reason == "interrupted"
    await composite.close()


# The router.


@scenario
async def test_environment_decides(site: Site, monkeypatch):
    """VIVAVOCE_PROVIDER decides at the first realtime call."""
    site.install("dummy-a")
    site.install("dummy-b")
    composite = CompositeVoice()
    monkeypatch.setenv("VIVAVOCE_PROVIDER", "Dummy_B")
    await composite.connect()
    assert (composite.provider, composite.state) == ("dummy-b", "open")
    await composite.close()


@scenario
async def test_only_candidate(site: Site, monkeypatch):
    """The only installed provider that declares realtime and has its credentials is taken."""
    site.install("dummy-speaks", capabilities=["speak"])
    site.install("dummy-keyless", credentials={"api_key": "DUMMY_KEY"})
    site.install("dummy-broken", "raise ValueError('broken')")
    site.install("dummy-exits", "raise SystemExit")
    site.install("dummy-right", credentials={"api_key": "RIGHT_KEY"})
    monkeypatch.setenv("RIGHT_KEY", "k")
    monkeypatch.setenv("DUMMY_KEY", " ")
    composite = CompositeVoice()
    assert site.imported() == []
    await composite.connect()
    assert composite.provider == "dummy-right"
    await composite.close()
    names, broken = realtime_candidates()
    assert (names, [error.provider for error in broken]) == (["dummy-right"], ["dummy-broken", "dummy-exits"])


@scenario
async def test_several_candidates(site: Site):
    """Several candidates are a ConfigError that lists them."""
    site.install("dummy-a")
    site.install("dummy-b")
    with pytest.raises(ConfigError, match="dummy-a, dummy-b"):
        await CompositeVoice().connect()


@scenario
async def test_candidates_on_the_lists(site: Site, monkeypatch):
    """The environment's lists apply to the router; a refused provider is not even imported."""
    site.install("dummy-a")
    site.install("dummy-b")
    monkeypatch.setenv("VIVAVOCE_DISABLE_PLUGINS", "dummy-a")
    composite = CompositeVoice()
    await composite.connect()
    assert (composite.provider, site.imported()) == ("dummy-b", ["dummy_dummy_b"])
    await composite.close()


@scenario
async def test_no_candidate(caplog):
    """Without a candidate the warning rule holds."""
    composite = CompositeVoice()
    await composite.connect()
    assert (composite.state, composite.provider) == ("idle", "null")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@scenario
async def test_listeners_before_the_choice():
    """Listeners may come before the voice is chosen; they hear it, once and in order."""
    composite = CompositeVoice([Part, Part])
    heard = []
    composite.on("open", heard.append)
    composite.once("session.created", heard.append)
    composite.on("close", heard.append)
    composite.off("close", heard.append)

    @composite.on("usage")
    def usage(event):
        heard.append(event)

    async with composite:
        await (await composite.answer()).done()
    assert [event.type for event in heard] == ["session.created", "open", "usage"]


# The order of preference.


def failing(*errors):
    return Part({"connect": [*errors]})


@pytest.mark.parametrize(
    "error",
    [AuthenticationError("no key"), ConnectionRefusedError("no"), ConfigError("no key")],
    ids=lambda e: type(e).__name__,
)
@scenario
async def test_next_one_is_tried(error):
    """When one cannot connect the next is tried, and an event says so."""
    first, second = failing(error), Part()
    first.name, second.name = "first", "second"
    composite = CompositeVoice([first, second])
    told, opened = [], []
    composite.on("provider.fallback", told.append)
    composite.once("open", opened.append)
    async with composite:
        assert (composite.provider, len(opened)) == ("second", 1)
        assert [(event.failed, event.chosen) for event in told] == [("first", "second")]
        assert isinstance(told[0], ProviderFallback)
        assert type(told[0].cause).__name__ in (type(error).__name__, "ConnectError")
    assert (first.connected, second.connected) == (False, False)


@scenario
async def test_names_that_are_not_installed_are_passed_over():
    """A name that cannot even be loaded is passed over like one that cannot connect."""
    composite = CompositeVoice(["not-installed-at-all", Part()])
    told = []
    composite.on("provider.fallback", told.append)
    async with composite:
        assert composite.state == "open"
    assert (told[0].failed, type(told[0].cause)) == ("not-installed-at-all", ProviderNotFoundError)


@scenario
async def test_every_failure_is_told():
    """A provider that could not connect is told of, also when the one after it cannot even be loaded."""
    composite = CompositeVoice([failing(AuthenticationError("one")), "not-installed-at-all", Part()])
    told = []
    composite.on("provider.fallback", told.append)
    async with composite:
        assert [type(event.cause) for event in told] == [AuthenticationError, ProviderNotFoundError]
        assert {event.chosen for event in told} == {composite.provider}


@scenario
async def test_all_fail():
    """When none can connect the last failure is raised, and a next connect tries all again."""
    first, second = (
        failing(AuthenticationError("one"), AuthenticationError("three")),
        failing(AuthenticationError("two")),
    )
    composite = CompositeVoice([first, second])
    with pytest.raises(AuthenticationError, match="two"):
        await composite.connect()
    await composite.connect()
    assert [len(part.called("connect")) for part in (first, second)] == [2, 2]
    await composite.close()


@scenario
async def test_error_that_is_no_failure_to_connect():
    """An error that is not about connecting is raised at once."""
    composite = CompositeVoice([failing(ProviderError("bad request")), Part()])
    with pytest.raises(ProviderError):
        await composite.connect()
    await composite.close()


@scenario
async def test_listeners_follow_the_choice():
    """Listeners hear the voice that is chosen, each event once, over several connects; a `once` hears one event in all."""
    first, second = (
        failing(ConnectionRefusedError(), ConnectionRefusedError(), ConnectionRefusedError()),
        Part(),
    )
    composite = CompositeVoice([Voice(first), Voice(second)])
    opened, once = [], []
    composite.on("open", opened.append)
    composite.once("open", once.append)
    for _ in range(3):
        await composite.connect()
        await composite.close()
    assert (len(opened), len(once)) == (3, 1)
    composite.off("open", opened.append)
    async with composite:
        pass
    assert len(opened) == 3


@scenario
async def test_events_follow_the_choice():
    """An `events()` made before the choice gives the events of the voice that was chosen."""
    composite = CompositeVoice([failing(ConnectionRefusedError()), Part()])
    events = composite.events("provider.fallback", "open", "close")
    async with composite:
        pass
    assert [event.type async for event in events] == ["provider.fallback", "open", "close"]


@scenario
async def test_concurrent_connects_share_the_order():
    """Callers at the same time share one walk through the order."""
    first, second = (
        Part({"connect": [Step(delay=1, fails=ConnectionRefusedError())]}),
        Part({"connect": Step(delay=1)}),
    )
    composite = CompositeVoice([first, second])
    await asyncio.gather(*(composite.connect() for _ in range(3)))
    assert [len(part.called("connect")) for part in (first, second)] == [1, 1]
    await composite.close()


@scenario
async def test_close_while_trying():
    """close ends the walk: no further provider is tried."""
    first, second = Part({"connect": Step(hangs=True)}), Part()
    composite = CompositeVoice([first, second])
    connecting = asyncio.create_task(composite.connect())
    await turns(5)
    await composite.close()
    with pytest.raises(NotConnectedError):
        await connecting
    assert second.called("connect") == []


@pytest.mark.parametrize("bad", [[], (), 3, [3]])
@scenario
async def test_bad_parts(bad):
    """What is no provider is refused, at construction or when its turn comes."""
    from vivavoce.errors import VoiceError

    with pytest.raises(VoiceError):
        await CompositeVoice(bad).connect()
