"""Tools: typed functions the model may call, their schema, and the check of its arguments. No I/O, no loop.

The schema comes from the type hints (through msgspec) and the docstring; `Tool` takes a ready JSON schema instead.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, get_type_hints, overload

import msgspec

from vivavoce.errors import ConfigError

__all__ = ["Tool", "as_tools", "tool"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_EMPTY: dict[str, Any] = {"type": "object", "properties": {}}


def _missing(**_: Any) -> Any:
    """Stands for a function that was not given."""


class Tool(msgspec.Struct, frozen=True):
    """A function the model may call.

    `parameters` is a JSON schema of type object; `execute` takes the arguments by name and returns, plain or async,
    any value that JSON can carry (a `str` is passed on as it is). `timeout` is in seconds. With `execute=None` the
    app runs the calls itself: it hears `tool-call-start`, gives the output by `voice.return_tool_result()`, and asks for
    the continuation by `voice.answer()`; the arguments are then not checked.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = msgspec.field(default_factory=lambda: dict(_EMPTY))
    execute: Callable[..., Any | Awaitable[Any]] | None = _missing
    timeout: float = 30.0
    arguments_type: type[msgspec.Struct] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise ConfigError(f"tool name {self.name!r}: 1 to 64 letters, digits, _ or -", option="tools")
        if self.execute is _missing or not (self.execute is None or callable(self.execute)):
            raise ConfigError(
                f"tool {self.name!r} has no function: give execute=, or execute=None if the app runs its calls",
                option="tools",
            )
        if (
            isinstance(self.timeout, bool)
            or not isinstance(self.timeout, (int, float))
            or not self.timeout > 0
        ):
            raise ConfigError(
                f"tool {self.name!r}: timeout={self.timeout!r} is not a positive number of seconds",
                option="tools",
            )
        if not isinstance(self.parameters, Mapping) or self.parameters.get("type", "object") != "object":
            raise ConfigError(
                f"tool {self.name!r}: parameters is no JSON schema of type object, such as "
                '{"type": "object", "properties": {...}}',
                option="tools",
            )
        if not isinstance(self.description, str):
            raise ConfigError(f"tool {self.name!r}: its description is not text", option="tools")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as before it became a tool."""
        if self.execute is None:
            raise TypeError(f"tool {self.name!r} has no function of its own: the app runs its calls")
        return self.execute(*args, **kwargs)

    def read_arguments(self, raw: str | bytes | Mapping[str, Any] | None) -> dict[str, Any]:
        """Decode and check the model's arguments. Empty text means none. Raises `ValueError` with a text for the model."""
        if raw is None or raw == "" or raw == b"":
            raw = {}
        try:
            values = msgspec.json.decode(raw) if isinstance(raw, (str, bytes)) else dict(raw)
        except msgspec.DecodeError as bad:
            raise ValueError(f"the arguments are not JSON: {bad}") from bad
        if not isinstance(values, dict):
            raise ValueError("the arguments are not a JSON object")
        if self.arguments_type is None:
            _check_schema(values, self.parameters)
            return values
        try:
            checked = msgspec.convert(values, self.arguments_type, strict=True)
        except msgspec.ValidationError as bad:
            raise ValueError(str(bad)) from bad
        return {name: getattr(checked, name) for name in self.arguments_type.__struct_fields__}


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def _check_schema(values: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check what every tool schema uses: required, type, enum, additionalProperties. The tool checks the rest."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in values:
            raise ValueError(f"argument {name!r} is missing")
    for name, value in values.items():
        rule = properties.get(name)
        if rule is None:
            if schema.get("additionalProperties") is False:
                raise ValueError(f"unknown argument {name!r}")
            continue
        kinds = rule.get("type")
        names = [kinds] if isinstance(kinds, str) else list(kinds or ())
        allowed = tuple(t for kind in names for t in _JSON_TYPES.get(kind, (object,)))
        if allowed and not (
            isinstance(value, allowed)
            and (not isinstance(value, bool) or bool in allowed or object in allowed)
        ):
            raise ValueError(f"argument {name!r} is not of type {' or '.join(names)}")
        if "enum" in rule and value not in rule["enum"]:
            raise ValueError(f"argument {name!r} is none of {rule['enum']}")


def _describe(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The docstring's text, and the words about each argument (Google's `Args:` or Sphinx's `:param x:`)."""
    doc = inspect.getdoc(function) or ""
    about = {m[1]: " ".join(m[2].split()) for m in re.finditer(r"^:param (\w+):\s*(.+)$", doc, re.M)}
    text, _, args = re.split(r"^:param", doc, maxsplit=1, flags=re.M)[0].partition("\nArgs:")
    about |= {
        m[1]: " ".join(m[2].split())
        for m in re.finditer(r"^\s+(\w+)(?: \([^)]*\))?:\s*(.+(?:\n\s{8,}.+)*)", args, re.M)
    }
    text = re.split(r"^(?:Returns|Raises|Yields|Example)s?:", text, maxsplit=1, flags=re.M)[0]
    return " ".join(text.split()), about


def _arguments_type(name: str, function: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigError(
                f"tool {name!r}: argument {parameter.name!r} cannot be given by name", option="tools"
            )
        if parameter.name not in hints:
            raise ConfigError(f"tool {name!r}: argument {parameter.name!r} has no type hint", option="tools")
        kind = hints[parameter.name]
        fields.append(
            (parameter.name, kind)
            if parameter.default is parameter.empty
            else (parameter.name, kind, parameter.default)
        )
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _schema(name: str, arguments: type[msgspec.Struct], about: Mapping[str, str]) -> dict[str, Any]:
    try:
        (reference,), components = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    except TypeError as bad:
        raise ConfigError(f"tool {name!r}: {bad}", option="tools") from bad
    own = components.pop(reference["$ref"].rsplit("/", 1)[1])
    schema = {key: own[key] for key in ("type", "properties", "required") if key in own}
    schema["additionalProperties"] = False
    for argument, words in about.items():
        if argument in schema["properties"]:
            schema["properties"][argument].setdefault("description", words)
    if components:
        schema["$defs"] = components
    return schema


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, timeout: float = 30.0
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float = 30.0,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a typed function a tool. The schema comes from its type hints and docstring.

    A function without usable hints is a `ConfigError` at decoration. The result can still be called as before.
    """

    def make(function: Callable[..., Any]) -> Tool:
        own_name = name or str(getattr(function, "__name__", ""))
        arguments = _arguments_type(own_name, function)
        text, about = _describe(function)
        schema = _schema(own_name, arguments, about)
        return Tool(
            own_name, description or text, schema, function, timeout=timeout, arguments_type=arguments
        )

    return make if function is None else make(function)


def as_tools(given: Iterable[Any] | Mapping[str, Any]) -> tuple[Tool, ...]:
    """Take tools as an app gives them: `Tool`s, typed functions, or a mapping of names to either. A `Tool` keeps the
    name it has."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ConfigError(
            f"tools={given!r}: give a list of tools, or a mapping of names to them", option="tools"
        )
    named = given.items() if isinstance(given, Mapping) else [(None, entry) for entry in given]
    tools = []
    for name, entry in named:
        if isinstance(entry, Tool):
            tools.append(entry)
        elif callable(entry):
            tools.append(tool(name=name)(entry))
        else:
            raise ConfigError(
                f"{type(entry).__name__} is not a tool: decorate a function with @vivavoce.tool, or give a vivavoce.Tool",
                option="tools",
            )
    names = [entry.name for entry in tools]
    for entry in names:
        if names.count(entry) > 1:
            raise ConfigError(f"two tools are named {entry!r}: rename one", option="tools")
    return tuple(tools)
