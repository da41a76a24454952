"""Wrong providers that use the voice which `attach` lets them look at: they change what the core alone would do."""

from __future__ import annotations

from typing import Any

from vivavoce import hookimpl
from wrong_base import Realtime, wrong


class _Meddles(Realtime):
    """Puts a method of its own over one of the voice's."""

    voice: Any = None
    method = ""

    @hookimpl
    def attach(self, voice: Any) -> None:
        self.voice = voice
        if self.method:
            original = getattr(voice, self.method)
            setattr(voice, self.method, lambda *args, **more: self.instead(original, *args, **more))

    async def instead(self, original: Any, *args: Any, **more: Any) -> Any:
        raise NotImplementedError

    async def tell(self, type: str) -> None:
        """Send a message without waiting for what comes of it."""
        link = self._link
        if link is not None:
            link.protocol.send_event(type)
            await link.flush()


@wrong("VV-CON-022", alone=True)
class RelaxesStrictVoices(_Meddles):
    @hookimpl
    def attach(self, voice: Any) -> None:
        voice._strict = False


@wrong("VV-CON-072", alone=True)
class SwallowsAudioWithoutSession(_Meddles):
    method = "send"

    async def instead(self, original: Any, *args: Any, **more: Any) -> Any:
        return await original(*args, **more) if self.voice.state != "idle" else None


@wrong("VV-CON-073", alone=True)
class CutsHalfSamplesOff(_Meddles):
    method = "send"

    async def instead(self, original: Any, *args: Any, **more: Any) -> Any:
        audio, *rest = args
        if isinstance(audio, bytes) and len(audio) % 2:
            audio = audio[:-1]
        return await original(audio, *rest, **more)


@wrong("VV-CON-133", alone=True)
class CancelsWhatIsNotRunning(_Meddles):
    method = "interrupt"

    async def instead(self, original: Any, *args: Any, **more: Any) -> Any:
        await original(*args, **more)
        if self._link is not None and self._link.protocol.active_response is None:
            await self.tell("response.cancel")


@wrong("VV-CON-134", alone=True)
class AsksWhileAReplyRuns(_Meddles):
    method = "answer"

    async def instead(self, original: Any, *args: Any, **more: Any) -> Any:
        if self._link is not None and self._link.protocol.active_response is not None:
            await self.tell("response.create")
        return await original(*args, **more)
