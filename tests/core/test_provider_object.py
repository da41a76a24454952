"""A ready provider object belongs to one voice."""

from __future__ import annotations

import gc

import pytest
from vivavoce import ConfigError, Voice


class Ready:
    api = 1
    name = "ready"
    capabilities = frozenset({"realtime"})


def test_object_is_refused_a_second_voice() -> None:
    """Its state is that of one conversation, so a second voice is told to take the class or a new object."""
    provider = Ready()
    Voice(provider)
    with pytest.raises(ConfigError, match="belongs to another voice: give its class, or a new object"):
        Voice(provider)


def test_object_is_free_after_a_bad_config() -> None:
    """A voice that could not be made has taken nothing."""
    provider = Ready()
    with pytest.raises(ConfigError, match="modle"):
        Voice(provider, modle="x")
    assert Voice(provider).provider == "ready"


def test_later_objects_are_not_taken_for_earlier_ones() -> None:
    """An object that is gone leaves nothing behind, whatever takes its place in memory."""
    for _ in range(1_000):
        Voice(Ready())
    gc.collect()
    assert Voice(Ready()).provider == "ready"


async def test_object_is_free_after_close() -> None:
    """A closed voice has no conversation any more."""
    provider = Ready()
    await Voice(provider).close()
    assert Voice(provider).provider == "ready"
