"""Other frameworks beside ours, on the same flood: openai-python, where it is installed (`pip install openai`)."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import time

import flood


async def openai_python(port: int, mode: str) -> float:
    """The library as its documentation shows it: events as models, base64 in the user's hands."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="not-a-real-key", websocket_base_url=f"ws://127.0.0.1:{port}/v1")
    async with client.realtime.connect(model="bench") as connection:
        async for event in connection:
            if event.type == "session.created":
                break
        begun = time.process_time()
        if mode == "receive":
            await connection.response.create()
            async for event in connection:
                if event.type == "response.output_audio.delta":
                    base64.b64decode(event.delta)
                elif event.type == "response.done":
                    break
        else:
            for _ in range(flood.N):
                await connection.input_audio_buffer.append(audio=base64.b64encode(flood.PCM).decode())
            async for event in connection:
                if event.type == "input_audio_buffer.cleared":
                    break
        return (time.process_time() - begun) / flood.N


def main() -> int:
    try:
        import openai  # noqa: F401
    except ImportError:
        print("peers: openai is not installed")
        return 0
    server = subprocess.Popen([sys.executable, flood.__file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    try:
        for mode in ("receive", "send"):
            print(
                f"openai-python: {mode:37} {asyncio.run(openai_python(port, mode)) * 1e6:10.2f} µs",
                flush=True,
            )
    finally:
        server.terminate()
        server.wait(10)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
