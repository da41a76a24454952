"""One voice of several: the best service that can be reached, and announcements spoken by another.

python examples/composite.py            openai-realtime if there is a key and a network, else local
"""

from __future__ import annotations

import asyncio
from typing import Any

from vivavoce import CompositeVoice, Voice


async def main(preferred: list[Any], announcer: Voice) -> str:
    """Announce, then talk; returns the provider that was used."""
    voice = CompositeVoice(realtime=preferred, output=announcer)
    voice.on(
        "provider.fallback", lambda event: print(f"{event.failed}: {event.cause}; trying {event.chosen}")
    )
    async with voice:
        announcement = await voice.speak("This conversation is recorded.")
        seconds = sum([len(audio) async for audio in announcement]) / announcement.format.bytes_for(1_000)
        print(f"announced in {seconds:.1f} s by {announcer.provider}")
        response = await voice.answer()
        print(f"{voice.provider}: {await response.text()}")
        return voice.provider


if __name__ == "__main__":
    asyncio.run(main(["openai-realtime", "local"], Voice("pico")))
