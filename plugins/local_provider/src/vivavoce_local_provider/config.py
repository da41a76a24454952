"""The configuration of the `local` provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs
from vivavoce import CommonConfig, ConfigError, Voice
from vivavoce.config import nearest
from vivavoce.vad import VadSettings

__all__ = ["LocalConfig", "TurnSettings"]


def _one_of(*choices: object) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ConfigError(
                f"{attribute.name}={value!r}: give {' or '.join(map(repr, choices))}", option=attribute.name
            )

    return check


@attrs.frozen(kw_only=True)
class TurnSettings(VadSettings):
    """How turns are taken; all of it may change during a session (`update_config`).

    `turns`: `"vad"` ends the user's turn after `silence_ms` of silence and answers; `"manual"` leaves both to the app.
    `barge_in`: the user's speech interrupts the reply (with `turns="vad"`).
    """

    turns: Literal["vad", "manual"] = attrs.field(default="vad", validator=_one_of("vad", "manual"))
    barge_in: bool = attrs.field(default=True, validator=_one_of(True, False))

    def changed(self, settings: Mapping[str, Any]) -> TurnSettings:
        """These settings with others over them. Raises `ConfigError` for unknown or bad ones."""
        known = [field.name for field in attrs.fields(TurnSettings)]
        for key in settings:
            if key not in known:
                meant = nearest(key, known)
                hint = f"did you mean {meant!r}?" if meant else f"known are {', '.join(known)}"
                raise ConfigError(f"unknown session setting {key!r} of local: {hint}", option=key)
        return attrs.evolve(self, **settings)


@attrs.frozen(kw_only=True)
class LocalConfig(CommonConfig):
    """Which parts, and how they work.

    `input`, `output`: the providers that listen and speak, each a name, a class, an object, a `Voice`, or a mapping as for
    `Voice.from_config`. `responder`: `echo`, `assistant`, `chat`, `"module:function"` or a function. `phrases`, `grammar`:
    what may be said, for `input`. `speaker`, `rate`: for `output`. `model`, `url`, `api_key`: for the responder `chat`.
    The rest are the `TurnSettings` that every session begins with.
    """

    input: Any = "pocketsphinx"
    output: Any = "pico"
    responder: Any = "assistant"
    phrases: Any = None
    grammar: str | None = None
    rate: float | None = None
    turns: Literal["vad", "manual"] = "vad"
    barge_in: bool = True
    threshold: float = 0.5
    silence_ms: float = 500
    prefix_ms: float = 300

    def __attrs_post_init__(self) -> None:
        self.turn_settings.changed(self.session)

    @property
    def turn_settings(self) -> TurnSettings:
        """What a session begins with, before its own settings."""
        return TurnSettings(**{field.name: getattr(self, field.name) for field in attrs.fields(TurnSettings)})

    def ears(self) -> Voice:
        """The voice that listens."""
        return _part("input", self.input, "listen", phrases=self.phrases, grammar=self.grammar)

    def mouth(self) -> Voice:
        """The voice that speaks."""
        return _part("output", self.output, "speak", speaker=self.speaker, rate=self.rate)


def _part(option: str, wanted: Any, capability: str, **config: Any) -> Voice:
    given = {key: value for key, value in config.items() if value is not None}
    if isinstance(wanted, Voice):
        voice = wanted
    elif isinstance(wanted, Mapping):
        voice = Voice.from_config({**given, **wanted})
    else:
        voice = Voice(wanted, **given)
    if capability not in voice.capabilities and voice.provider != "null":
        raise ConfigError(
            f"{option}={voice.provider!r} cannot {capability}; `vivavoce providers` lists what each provider can do",
            option=option,
        )
    return voice
