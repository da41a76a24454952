"""Answers a spoken question in a file with a spoken answer in another.

python examples/files.py question.wav reply.wav
python examples/files.py question.wav reply.wav openai-realtime
"""

from __future__ import annotations

import asyncio
import sys
import wave

from vivavoce import Voice


async def main(question: str, reply: str, voice: Voice) -> str:
    voice.on("turn", lambda turn: print(f"{turn.role}: {turn.text}"))
    async with voice:
        await voice.send(question)
        response = await voice.answer()
        with wave.open(reply, "wb") as file:
            file.setnchannels(voice.output_format.channels)
            file.setsampwidth(2)
            file.setframerate(voice.output_format.rate)
            async for audio in response.audio:
                file.writeframes(audio)
        return await response.text()


def make(provider: str) -> Voice:
    """A voice whose turns the app ends, each provider in its own words."""
    if provider == "openai-realtime":
        return Voice(provider, session={"audio": {"input": {"turn_detection": None}}})
    return Voice(provider, turns="manual")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} QUESTION.wav REPLY.wav [PROVIDER]")
    chosen = sys.argv[3] if len(sys.argv) > 3 else "local"
    print(asyncio.run(main(sys.argv[1], sys.argv[2], make(chosen))))
