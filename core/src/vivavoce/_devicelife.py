"""What a microphone and a speaker have in common: opening, losing and finding a device again, and telling about it."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final, Literal, TypeVar

import msgspec

from vivavoce import _portaudio
from vivavoce._portaudio import DeviceInfo, Kind
from vivavoce.audio import AudioFormat
from vivavoce.errors import AudioError

__all__ = ["Device", "DeviceEvent", "Link"]

logger = logging.getLogger("vivavoce.devices")

STARTING_CALLS: Final = 50
_STALLED_S: Final = 1.5
_STARTING_S: Final = 3.0  # a device that slept
_RETRY_S: Final = 0.5
_RETURN_S: Final = 3.0
_LIST_S: Final = 9.0  # between looks at what devices the system has now, which takes a process
_LOOK_S: Final = 0.05
_PAUSE_S: Final = 5.0  # so long the way back waits for a moment without sound
_CLOSE_S: Final = 5.0
_XRUN_REPORT_S: Final = 5.0
_Self = TypeVar("_Self", bound="Device")
_open: weakref.WeakSet[Device] = weakref.WeakSet()
_looking: set[asyncio.Task[None]] = set()


class DeviceEvent(msgspec.Struct, frozen=True):
    """What happened to a device; `text` says it in one line.

    `lost`: it was unplugged, or its sound server went away. `recovered`: sound goes on, maybe on another device.
    `returned`: the one that was asked for is there again, and used again.
    `xruns`: sound was broken off because this computer was late; told at most every 5 s, with the `count` since.
    """

    kind: Literal["lost", "recovered", "returned", "xruns"]
    device: str
    text: str
    count: int = 0


class Link:
    """One opened stream: what its callback and the loop share. `calls` and `xruns` are the callback's."""

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self.stream: Any = None
        self.calls = 0
        self.xruns = 0

    def called(self, is_late: bool) -> None:
        """Count a callback. While a stream starts it is often late, and no sound is broken by that."""
        self.calls += 1
        if is_late and self.calls > STARTING_CALLS:
            self.xruns += 1

    def callback(self, buffer: Any, frames: int, time: Any, status: Any) -> None:
        """PortAudio's, in its own thread."""
        raise NotImplementedError


class Device:
    """The life of one device; the base of `Microphone` and `Speaker`."""

    _kind: Kind

    def __init__(
        self,
        device: int | str | None,
        format: AudioFormat,
        latency_ms: float,
        on_event: Callable[[DeviceEvent], None] | None,
        give_up_s: float,
    ) -> None:
        if format.encoding != "pcm16":
            raise AudioError(f"a sound device plays and records PCM16, not {format}")
        self.device = device
        self.format = format
        self.latency_ms = latency_ms
        self.info: DeviceInfo | None = None
        self._on_event = on_event
        self._give_up_s = give_up_s
        self._link: Any = None
        self._lock = asyncio.Lock()
        self._seen = (0, 0.0)  # the count of callbacks, and when it last changed
        self._past_xruns = 0
        self._told_xruns = (0, 0.0)
        self._asked: DeviceInfo | None = None  # what `device` was when it was opened first
        self._away = False  # another one stands in for it
        self._way_back: asyncio.Task[None] | None = None
        self._moving = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: AudioError | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.format}>"

    @property
    def name(self) -> str:
        """The device's name, once it is open."""
        return (
            self.info.name
            if self.info is not None
            else str(self.device if self.device is not None else "default")
        )

    def _what(self) -> str:
        return f"the {_portaudio.WORD[self._kind]} {self.name!r}"

    @property
    def is_open(self) -> bool:
        """Whether the device is open now."""
        return self._link is not None or self._moving

    @property
    def device_format(self) -> AudioFormat | None:
        """What the device itself runs at, while it is open; it is converted to and from `format`."""
        return self._link.format if self._link is not None else None

    @property
    def xruns(self) -> int:
        """How often sound was broken off because this computer was late."""
        return self._past_xruns + (self._link.xruns if self._link is not None else 0)

    @property
    def host_latency_ms(self) -> float:
        """The latency of the open stream, as PortAudio tells it."""
        return float(self._link.stream.latency) * 1000 if self._link is not None else 0.0

    async def open(self: _Self) -> _Self:
        """Open the device; on an open one nothing happens. The first use does it, too. `AudioError` says what is
        wrong and what to do. Cancelling leaves nothing open."""
        if self._link is None:
            async with self._lock:
                if self._link is None:
                    await self._connect(self.device)
                    self._away = False
        return self

    async def close(self) -> None:
        """Close the device. Idempotent; it may be opened again."""
        way_back, self._way_back = self._way_back, None
        if way_back is not None:
            way_back.cancel()
            await asyncio.gather(way_back, return_exceptions=True)
        async with self._lock:
            await self._disconnect()

    async def __aenter__(self: _Self) -> _Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Of the subclasses.

    def _make_link(self, format: AudioFormat) -> Link:
        raise NotImplementedError

    def _linked(self) -> None:
        """A device was opened."""

    def _unlinked(self) -> None:
        """It is about to be closed."""

    def _is_quiet(self) -> bool:
        """Whether another device can be taken without a loss."""
        return True

    # Opening and closing. The lock is held.

    async def _connect(self, device: int | str | None) -> None:
        self._use(*await self._opened(device))

    async def _opened(self, device: int | str | None) -> tuple[DeviceInfo, Link]:
        opening = asyncio.get_running_loop().run_in_executor(None, self._open_blocking, device)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A thread cannot be stopped; what it opens is closed.
            done = (await asyncio.gather(opening, return_exceptions=True))[0]
            if not isinstance(done, BaseException):
                await asyncio.to_thread(_portaudio.close_stream, done[1].stream)
            raise

    def _use(self, info: DeviceInfo, link: Link) -> None:
        self.info, self._link = info, link
        self._asked, self._failure = self._asked or info, None
        self._loop = asyncio.get_running_loop()
        _open.add(self)
        self._seen = (0, asyncio.get_running_loop().time() + _STARTING_S)
        self._linked()

    def _open_blocking(self, device: int | str | None) -> tuple[DeviceInfo, Link]:
        info = _portaudio.find(self._kind, device)
        made = self._make_link(_portaudio.negotiate(self._kind, info, self.format))
        made.stream = _portaudio.open_stream(self._kind, info, made.format, self.latency_ms, made.callback)
        return info, made

    async def _disconnect(self) -> None:
        link = self._link
        if link is not None:
            self._unlinked()
            self._past_xruns += link.xruns
            self._link = None
            _open.discard(self)
            await self._let_go(link)

    async def _let_go(self, link: Link) -> None:
        closing = asyncio.ensure_future(asyncio.to_thread(_portaudio.close_stream, link.stream))
        try:
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.shield(closing)
        except TimeoutError:
            logger.warning("the driver of %s does not let go of it", self.name)

    # Watching.

    def _alive(self) -> bool:
        """Whether the callback is being called."""
        link, now = self._link, asyncio.get_running_loop().time()
        calls, since = self._seen
        if link.calls != calls:
            self._seen = (link.calls, now)
            return True
        return now - since < _STALLED_S

    async def _watch(self) -> None:
        """Tell of xruns; when the device is gone, find another. `AudioError` (code `device_lost`)."""
        self._report_xruns()
        if self._failure is not None:
            raise self._failure
        if self._link is not None and not self._alive():
            async with self._lock:
                if self._link is not None and not self._alive():
                    await self._recover()

    async def _recover(self) -> None:
        lost, what, loop = self.name, self._what(), asyncio.get_running_loop()
        await self._disconnect()
        self._tell(DeviceEvent("lost", lost, f"{what} is gone: looking for another"))
        deadline = loop.time() + self._give_up_s
        while True:
            failure = await self._connect_any()
            if failure is None:
                self._tell(DeviceEvent("recovered", self.name, f"{self._what()} is used from now on"))
                if self._away and self._way_back is None:
                    self._way_back = asyncio.create_task(self._return())
                return
            if loop.time() > deadline:
                raise AudioError(
                    f"{what} is gone, and no other can be used: {failure}", code="device_lost"
                ) from failure
            await asyncio.sleep(_RETRY_S)
            await asyncio.to_thread(_portaudio.rescan)

    def _wanted(self) -> int | str | None:
        """The device that was asked for; an index may be another one's when PortAudio has looked anew."""
        return self._asked.name if isinstance(self.device, int) and self._asked is not None else self.device

    async def _connect_any(self) -> AudioError | None:
        """Open the device that was asked for, or the default one."""
        failure: AudioError | None = None
        for device in dict.fromkeys((self._wanted(), None)):
            try:
                await self._connect(device)
            except AudioError as bad:
                failure = bad
            else:
                self._away = device != self._wanted()
                return None
        return failure

    async def _return(self) -> None:
        """Look for the device that was asked for, and go back to it: in the next pause, or after 5 s without one."""
        loop = asyncio.get_running_loop()
        listed_at, was_missing = loop.time(), True
        while self._away:
            await asyncio.sleep(_RETURN_S)
            try:
                found = await self._opened(self._wanted())
            except AudioError:
                # PortAudio knows the devices there were when it started.
                if loop.time() - listed_at >= _LIST_S:
                    there = await asyncio.to_thread(_portaudio.is_there, self._kind, self._wanted())
                    if there and was_missing:
                        await self._until_quiet()
                        await _look_anew()
                    listed_at, was_missing = loop.time(), not there
            else:
                await self._go_back(*found)
        self._way_back = None

    async def _go_back(self, info: DeviceInfo, link: Link) -> None:
        try:
            await self._until_quiet()
            async with self._lock:
                if self._link is not None and self._away:
                    await self._change_to(info, link)
        finally:
            if self._link is not link:  # it was lost meanwhile, or taken already
                await self._let_go(link)

    async def _until_quiet(self) -> None:
        for _ in range(round(_PAUSE_S / _LOOK_S)):
            if self._is_quiet():
                return
            await asyncio.sleep(_LOOK_S)

    async def _change_to(self, info: DeviceInfo, link: Link) -> None:
        before = self._link
        self._unlinked()
        self._past_xruns += before.xruns
        self._use(info, link)
        self._away = False
        self._tell_returned()
        await self._let_go(before)

    async def _connect_again(self) -> None:
        was_away = self._away
        failure = await self._connect_any()
        self._moving = False
        if failure is not None:
            self._failure = AudioError(f"{self._what()} is gone: {failure}", code="device_lost")
        elif was_away and not self._away:
            self._tell_returned()

    def _tell_returned(self) -> None:
        self._tell(DeviceEvent("returned", self.name, f"{self._what()} is back, and used from now on"))

    def _report_xruns(self) -> None:
        told, at = self._told_xruns
        now = asyncio.get_running_loop().time()
        if self.xruns > told and now - at > _XRUN_REPORT_S:
            count = self.xruns - told
            self._told_xruns = (self.xruns, now)
            text = f"{self._what()}: the sound broke off {count} times: this computer was late"
            self._tell(DeviceEvent("xruns", self.name, text, count))

    def _tell(self, event: DeviceEvent) -> None:
        logger.log(logging.DEBUG if self._on_event is not None else logging.WARNING, "%s", event.text)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                logger.exception("a listener of device events failed")


async def _look_anew() -> None:
    """Let PortAudio look for devices. It does so when it starts, so every stream of this process is closed for a moment;
    where one belongs to another loop, it is left at that."""
    looking = asyncio.create_task(_close_and_look(asyncio.get_running_loop()))
    _looking.add(looking)
    looking.add_done_callback(_looking.discard)
    await asyncio.shield(looking)  # who is cancelled leaves nobody without a device


async def _close_and_look(loop: asyncio.AbstractEventLoop) -> None:
    if any(device._loop is not loop for device in _open):
        return
    async with AsyncExitStack() as locks:
        held = sorted(_open, key=id)
        for device in held:
            await locks.enter_async_context(device._lock)
        moved = [device for device in held if device._link is not None]
        for device in moved:
            device._moving = True
            await device._disconnect()
        await asyncio.to_thread(_portaudio.rescan)
        for device in moved:
            await device._connect_again()
