"""Calling hooks: in order, awaited, wrappers around the real outcome, the null provider last, and each voice by itself."""

from __future__ import annotations

import asyncio
import gc
import types
import warnings

import pluggy
import pytest
from conversation import FRAME, Stage, provider, scenario, turns
from vivavoce import Voice, hookimpl
from vivavoce.errors import ConfigError, NotConnectedError, ProviderError, ProviderLoadError
from vivavoce.relay import Relay
from vivavoce.testing import Step, current_clock


class Null:
    def __init__(self):
        self.asked = []

    @hookimpl
    def answer(self, context):
        self.asked.append("answer")

    @hookimpl
    def speak(self, context):
        self.asked.append("speak")


def relay(*plugins, null=None):
    return Relay([(f"p{number}", plugin) for number, plugin in enumerate(plugins)], null or Null())


@scenario
async def test_first_result_that_is_not_none():
    """Plugins are asked in order, each awaited, until one gives a result."""
    asked = []

    def maker(name, result):
        class Plugin:
            @hookimpl
            async def answer(self, context, options):
                await asyncio.sleep(0.1)
                asked.append(name)
                return result

        return Plugin()

    found = await relay(maker("a", "A"), maker("b", None), maker("c", None)).call("answer", None, {})
    assert (found, asked) == ("A", ["c", "b", "a"])
    asked.clear()
    assert await relay(maker("a", "A"), maker("b", "B")).call("answer", None, {}) == "B"
    assert asked == ["b"]


@scenario
async def test_tryfirst_and_trylast():
    """pluggy's own order counts."""
    asked = []

    class First:
        @hookimpl(tryfirst=True)
        def answer(self):
            asked.append("first")

    class Last:
        @hookimpl(trylast=True)
        def answer(self):
            asked.append("last")

    class Middle:
        @hookimpl
        def answer(self):
            asked.append("middle")

    await relay(First(), Middle(), Last()).call("answer", None, {})
    assert asked == ["first", "middle", "last"]


@pytest.mark.parametrize("hook", ["send", "close"])
@scenario
async def test_broadcast_hooks_reach_every_plugin(hook):
    """Some hooks are heard by all, whatever the others return."""
    heard = []

    class Plugin:
        @hookimpl
        async def send(self, audio):
            heard.append(self)
            return 1

        @hookimpl
        def close(self, reason):
            heard.append(self)
            return 1

    plugins = [Plugin(), Plugin()]
    await relay(*plugins).call(hook, None, b"")
    assert set(heard) == set(plugins)


@scenario
async def test_arguments_may_be_left_out():
    """An implementation takes the arguments it names, in any order, and defaults stay."""
    got = []

    class Plugin:
        @hookimpl
        def send_text(self, role, text):
            got.append((role, text))

        @hookimpl
        def answer(self, options, extra=5):
            got.append((options, extra))

        @staticmethod
        @hookimpl
        def close(reason):
            got.append(reason)

    made = relay(Plugin())
    await made.call("send_text", "context", "hi", "user")
    await made.call("answer", "context", {"a": 1})
    await made.call("close", "context", "bye")
    assert got == [("user", "hi"), ({"a": 1}, 5), "bye"]


@scenario
async def test_null_is_asked_only_where_nobody_else_implements():
    """A hook that returns None was implemented: null is not asked."""

    class Plugin:
        @hookimpl
        async def answer(self):
            return None

    null = Null()
    made = relay(Plugin(), null=null)
    assert await made.call("answer", None, {}) is None
    assert null.asked == []
    await made.call("speak", None, "x", {})
    assert null.asked == ["speak"]
    assert (made.implements("answer"), made.implements("speak"), made.implements("listen")) == (
        True,
        False,
        False,
    )
    assert await made.call("listen", None, None, {}) is None


def recording(name, log, *, result=None, fails=None, swallows=False):
    class Wrapper:
        @hookimpl(wrapper=True)
        def answer(self, options):
            log.append((name, "enter"))
            if fails == "enter":
                raise ValueError(name)
            try:
                got = yield
                log.append((name, got))
            except Exception as error:
                log.append((name, type(error).__name__))
                if not swallows:
                    raise
                got = "saved"
            if fails == "leave":
                raise ValueError(name)
            return got if result is None else result

    return Wrapper()


class Slow:
    def __init__(self, result="real", fails=None):
        self.result, self.fails, self.called = result, fails, 0

    @hookimpl
    async def answer(self):
        self.called += 1
        await asyncio.sleep(1)
        if self.fails:
            raise self.fails
        return self.result


@scenario
async def test_wrappers_see_the_result_after_the_await():
    """Wrappers are entered before the call and resumed after the await, the inner one first, with the real result."""
    log = []
    made = relay(Slow(), recording("inner", log), recording("outer", log))
    calling = asyncio.create_task(made.call("answer", None, {}))
    await asyncio.sleep(0.5)
    assert log == [("outer", "enter"), ("inner", "enter")]
    assert await calling == "real"
    assert (log[2:], current_clock().now) == ([("inner", "real"), ("outer", "real")], 1)


@scenario
async def test_wrapper_changes_the_result():
    """What a wrapper returns is the result for those around it."""
    log = []
    assert (
        await relay(Slow(), recording("inner", log, result="changed"), recording("outer", log)).call(
            "answer", None, {}
        )
        == "changed"
    )
    assert log[-1] == ("outer", "changed")


@scenario
async def test_wrappers_see_the_exception():
    """Wrappers see the real exception; one may turn it into a result."""
    log = []
    made = relay(Slow(fails=ProviderError("no")), recording("inner", log), recording("outer", log))
    with pytest.raises(ProviderError):
        await made.call("answer", None, {})
    assert log[2:] == [("inner", "ProviderError"), ("outer", "ProviderError")]
    made = relay(
        Slow(fails=ProviderError("no")), recording("inner", log), recording("outer", log, swallows=True)
    )
    assert await made.call("answer", None, {}) == "saved"


@pytest.mark.parametrize("when", ["enter", "leave"])
@scenario
async def test_wrapper_that_raises(when):
    """A wrapper that raises fails the call for those around it, one of which may save it; no coroutine is left unawaited."""
    log, slow = [], Slow()
    with pytest.raises(ValueError, match="inner"):
        await relay(slow, recording("inner", log, fails=when), recording("outer", log)).call(
            "answer", None, {}
        )
    assert log[-1] == ("outer", "ValueError")
    assert slow.called == (when == "leave")
    made = relay(slow, recording("inner", log, fails=when), recording("outer", log, swallows=True))
    assert await made.call("answer", None, {}) == "saved"
    gc.collect()


@scenario
async def test_wrappers_that_yield_too_little_or_too_much():
    """A wrapper yields once; another number is an error, and everything is closed."""

    class Never:
        @hookimpl(wrapper=True)
        def answer(self):
            if False:
                yield

    class Twice:
        @hookimpl(wrapper=True)
        def answer(self):
            yield
            yield

    with pytest.raises(RuntimeError, match="did not yield"):
        await relay(Slow(), Never()).call("answer", None, {})
    with pytest.raises(RuntimeError, match="more than once"):
        await relay(Slow(), Twice()).call("answer", None, {})


@scenario
async def test_cancelled_call_resumes_wrappers():
    """A cancelled call is seen by the wrappers as what it is."""
    log = []

    class Watch:
        @hookimpl(wrapper=True)
        def answer(self):
            try:
                return (yield)
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

    calling = asyncio.create_task(relay(Slow(), Watch()).call("answer", None, {}))
    await turns(3)
    calling.cancel()
    await asyncio.wait({calling})
    assert (log, calling.cancelled()) == (["cancelled"], True)


@pytest.mark.parametrize("kind", ["plain", "async", "awaitable"])
@scenario
async def test_wrapped_send(kind):
    """On the audio path wrappers see every frame, and the real outcome, whatever form the hook has."""
    log = []

    class Wrapper:
        @hookimpl(wrapper=True)
        def send(self, audio):
            log.append(len(audio))
            try:
                return (yield)
            finally:
                log.append("sent")

    stage = Stage(provider(script={"send": Step(delay=1)} if kind == "async" else None), plugins=[Wrapper()])
    async with stage:
        if kind == "awaitable":
            stage.provider.stall()
            asyncio.get_running_loop().call_later(1, stage.provider.resume)
        await stage.voice.send(FRAME)
        assert current_clock().now == (0 if kind == "plain" else 1)
        assert log == [len(FRAME), "sent"]
        await stage.voice.send([FRAME, FRAME])
        assert log.count("sent") == 3


@scenario
async def test_observer_of_send():
    """A plugin that implements send beside the provider hears every frame, and the provider does, too."""
    heard = []

    class Observer:
        @hookimpl
        def send(self, audio):
            heard.append(audio)

    async with Stage(plugins=[Observer()]) as stage:
        await stage.voice.send(FRAME)
        assert (heard, bytes(stage.provider.heard)) == ([FRAME], FRAME)


@scenario
async def test_wrapper_around_connect_and_close():
    """A wrapper chosen for a voice stands around connect and close, and around no other voice's."""
    log = []

    class Wrapper:
        @hookimpl(wrapper=True)
        def connect(self, options):
            log.append("connecting")
            try:
                result = yield
            except Exception as error:
                log.append(type(error).__name__)
                raise
            log.append("connected")
            return result

        @hookimpl(wrapper=True)
        def close(self, reason):
            log.append(reason)
            return (yield)

    first, second = Stage(provider(script={"connect": [Step(delay=1)]}), plugins=[Wrapper()]), Stage()
    async with first, second:
        assert log == ["connecting", "connected"]
    assert log == ["connecting", "connected", "closed"]
    failing = Stage(provider(script={"connect": [ProviderError("no")]}), plugins=[Wrapper()])
    with pytest.raises(ProviderError):
        await failing.voice.connect()
    assert log[3:] == ["connecting", "ProviderError", "connect failed"]


def test_on_and_off_reach_every_plugin():
    """Every plugin is told who listens to what, with wrappers around; one that fails is logged, and the listener stays."""
    log = []

    class Plugin:
        @hookimpl
        def on(self, event, listener):
            log.append(("on", event))

        @hookimpl
        def off(self, event):
            log.append(("off", event))

    class Wrapper:
        @hookimpl(wrapper=True)
        def on(self, event):
            log.append("around")
            return (yield)

    voice = Stage(records=False, plugins=[Plugin(), Wrapper()]).voice
    voice.on("x", print)
    voice.off("x", print)
    voice.off("x", print)
    assert log == ["around", ("on", "x"), ("off", "x")]


@scenario
async def test_once_and_events_are_told_too():
    """A `once` listener that was called is gone, and so is an `events()` that ended: plugins are told."""
    stage = Stage(records=False)
    stage.voice.once("open", lambda event: None)
    queue = stage.voice.events("usage", "scripted:*")
    async with stage:
        pass
    told = [(call.hook, call.args[0]) for call in stage.provider.calls if call.hook in ("on", "off")]
    assert sorted(told) == [
        ("off", "open"),
        ("off", "scripted:*"),
        ("off", "usage"),
        ("on", "open"),
        ("on", "scripted:*"),
        ("on", "usage"),
    ]
    await queue.aclose()


def test_failing_on_hook(caplog):
    """A plugin that fails in `on` is logged; the listener is there."""

    class Bad:
        @hookimpl
        def on(self, event):
            raise ValueError("bad on")

    heard = []
    stage = Stage(records=False, plugins=[Bad()])
    stage.voice.on("x", heard.append)
    stage.voice._runtime.emitter.emit("x", 1)
    assert heard == [1]
    assert "bad on" in caplog.text


@pytest.mark.parametrize("hook", ["attach", "on", "off"])
def test_plain_hooks_must_be_plain(hook):
    """`attach`, `on` and `off` are called where nothing can be awaited: an async one is refused by name."""
    namespace = {}
    argument = "voice" if hook == "attach" else "event"
    exec(f"async def {hook}(self, {argument}): pass", namespace)
    plugin = type("Plugin", (), {hook: hookimpl(namespace[hook])})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ProviderLoadError, match=f"Plugin.{hook} .*plain"):
            Voice("null", plugins=[plugin()])


@scenario
async def test_attach_gets_the_voice_once():
    """`attach` is called once, at construction, for every plugin, with a voice that can be listened to."""
    seen = []

    class Plugin:
        @hookimpl
        def attach(self, voice):
            seen.append(voice)
            voice.on("open", seen.append)

    stage = Stage(plugins=[Plugin()])
    assert seen == [stage.voice]
    assert stage.provider.voice is stage.voice
    async with stage:
        pass
    assert len(seen) == 2


def test_foreign_marker():
    """A plugin may use its own pluggy marker."""
    marker = pluggy.HookimplMarker("vivavoce")
    log = []

    class Plugin:
        @marker
        def attach(self, voice):
            log.append(voice)

    Voice("null", plugins=[Plugin()])
    assert len(log) == 1


@scenario
async def test_hook_under_another_function_name():
    """What counts is the attribute's name, or `specname`; what the function behind it is called does not."""
    log = []

    def timed(function):
        async def wrapper(self, context, options):
            log.append("timed")
            return await function(self, context, options)

        return wrapper

    class Plugin:
        @hookimpl
        @timed
        async def answer(self, context, options):
            return "timed"

        @hookimpl(specname="send_text")
        def write(self, text):
            log.append(text)

    made = relay(Plugin())
    assert await made.call("answer", None, {}) == "timed"
    await made.call("send_text", None, "hi", "user")
    assert log == ["timed", "hi"]


def test_plugin_registered_twice():
    """The same object twice is refused."""
    plugin = Slow()
    with pytest.raises(ConfigError, match=r"plugins\[1\] is already a plugin"):
        Voice("null", plugins=[plugin, plugin])


@scenario
async def test_two_voices_of_one_class():
    """Two voices of one provider class have objects of their own."""

    made = []

    class Counts:
        api = 1
        capabilities = frozenset({"realtime"})

        def __init__(self):
            self.frames = 0
            made.append(self)

        @hookimpl
        def connect(self):
            pass

        @hookimpl
        def send(self, audio):
            self.frames += 1

    async with Voice(Counts) as first, Voice(Counts) as second:
        await first.send(FRAME)
        await first.send(FRAME)
        await second.send(FRAME)
    assert [one.frames for one in made] == [2, 1]


@scenario
async def test_module_as_a_plugin():
    """A module can be a plugin."""
    module = types.ModuleType("plugin_module")
    log = []

    @hookimpl
    def answer(context, options):
        log.append(options)
        return "module"

    module.answer = answer
    assert await relay(module).call("answer", None, {}) == "module"


@scenario
async def test_context_is_that_of_the_session():
    """A hook's context is of the session it is called for, and of no other voice's."""
    stage, other = Stage(), Stage()
    async with stage, other:
        assert stage.provider.context is not other.provider.context
        assert (stage.provider.context.session.id, stage.provider.context.session.provider) == (
            "session-1",
            "scripted",
        )
    with pytest.raises(NotConnectedError):
        await stage.voice.answer()
