"""What a scripted provider is told to do: steps of hooks, and replies. Values without behaviour."""

from __future__ import annotations

import array
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import attrs
import msgspec

from vivavoce.audio import AudioFormat
from vivavoce.errors import VoiceError
from vivavoce.events import Event
from vivavoce.hookspecs import HookSpecs

__all__ = ["UNSET", "Call", "Reply", "Script", "Step", "ramp"]

UNSET: Any = msgspec.UNSET
_HOOKS = frozenset(name for name in vars(HookSpecs) if not name.startswith("_"))


@attrs.frozen(kw_only=True)
class Step:
    """What one call of a hook does, in this order; what is not given is left out.

    `delay` seconds of the loop's clock pass; `emits` go to the core; `does` is called with the
    context and the hook's arguments, and awaited if it returns an awaitable; `loses` ends the
    connection for that cause; `hangs` waits until cancelled; `fails` is raised; `returns` is the
    result. Without `fails`, `does` or `returns` the hook then does what a healthy service does.
    """

    delay: float = 0.0
    emits: Sequence[Event | VoiceError] = ()
    does: Callable[..., Awaitable[Any] | Any] | None = None
    loses: BaseException | None = None
    hangs: bool = False
    fails: BaseException | None = None
    returns: Any = UNSET


Entry = Step | BaseException | None


class Script:
    """The steps of each hook.

    A list is taken call by call, and a healthy service follows; a step alone is for every call.
    An exception stands for `Step(fails=...)`, `None` for what a healthy service does.
    """

    def __init__(self, script: Mapping[str, Entry | Sequence[Entry]]) -> None:
        unknown = sorted(set(script) - _HOOKS)
        if unknown:
            raise ValueError(f"no such hook: {', '.join(unknown)}. Hooks are {', '.join(sorted(_HOOKS))}")
        self._always = {
            hook: _step(steps) for hook, steps in script.items() if not isinstance(steps, Sequence)
        }
        self._queues = {
            hook: [_step(step) for step in steps]
            for hook, steps in script.items()
            if isinstance(steps, Sequence)
        }

    def next(self, hook: str) -> Step | None:
        """Take the step of the next call of `hook`; `None` for what a healthy service does."""
        queue = self._queues.get(hook)
        return queue.pop(0) if queue else self._always.get(hook)

    def add(self, hook: str, *steps: Entry) -> None:
        """Put steps behind those that are left for `hook`."""
        if hook not in _HOOKS:
            raise ValueError(f"no such hook: {hook}. Hooks are {', '.join(sorted(_HOOKS))}")
        self._queues.setdefault(hook, []).extend(_step(step) for step in steps)


def _step(entry: Entry) -> Step | None:
    return Step(fails=entry) if isinstance(entry, BaseException) else entry


@attrs.frozen
class Reply:
    """A spoken reply of the service: `text`, `audio_ms` milliseconds of audio in chunks of `chunk_ms`.

    `paced` sends the audio at the speed of speech on the loop's clock, else all of it at once.
    `tool_calls` are pairs of name and arguments. `hold` leaves the reply open: no `ResponseDone` until
    `ScriptedProvider.finish`.
    """

    text: str = "ok"
    audio_ms: float = 100.0
    chunk_ms: float = attrs.field(default=20.0, kw_only=True)
    paced: bool = attrs.field(default=False, kw_only=True)
    tool_calls: Sequence[tuple[str, Any]] = attrs.field(default=(), kw_only=True)
    status: Literal["completed", "cancelled", "failed", "incomplete"] = attrs.field(
        default="completed", kw_only=True
    )
    reason: str | None = attrs.field(default=None, kw_only=True)
    hold: bool = attrs.field(default=False, kw_only=True)
    out_of_band: bool = attrs.field(default=False, kw_only=True)


class Call(msgspec.Struct, frozen=True):
    """One call of a hook: its arguments without the context, the loop's time in seconds (`None`: no loop ran),
    and the number of the session, from 1 (0: before the first)."""

    hook: str
    args: tuple[Any, ...]
    at: float | None
    session: int


def ramp(ms: float, format: AudioFormat, start: int = 0) -> bytes:
    """Return PCM16 in which every frame says its own number (modulo 65,536), beginning at `start`.

    A frame lost, doubled or out of place shows at once when two such streams are compared.
    """
    numbers = ((number & 0xFFFF) - 0x8000 for number in range(start, start + int(ms * format.rate / 1000)))
    samples = array.array("h", [number for number in numbers for _ in range(format.channels)])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
