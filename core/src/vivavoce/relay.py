"""Calls the hooks of one voice: in order, awaiting each, with wrappers entered before and resumed after the await.

pluggy's own loop cannot: `firstresult` would stop at the first coroutine, a wrapper would time a connect before it was
awaited, a raising wrapper would leave a coroutine that nobody awaits. So the relay takes the order from pluggy
(`get_hookimpls`, public) and makes the calls itself. The null provider is asked only for what nobody else implements.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import pluggy

from vivavoce.config import nearest
from vivavoce.errors import ProviderLoadError
from vivavoce.hookspecs import PROJECT, HookSpecs

__all__ = ["HOOKS", "Relay", "check_plugin", "has_hooks"]

HOOKS = tuple(
    name for name, member in vars(HookSpecs).items() if not name.startswith("_") and callable(member)
)
_MARK = f"{PROJECT}_impl"
# Every plugin hears these, whatever the others return.
_PLAIN = frozenset({"on", "off", "attach"})
_BROADCAST = frozenset({"send", "close", "on", "off", "attach"})


def check_plugin(plugin: object, label: str, *, provider: bool) -> None:
    """Refuse a plugin (or its class) whose hooks are wrong, naming the culprit: `ProviderLoadError`."""
    owner = plugin if isinstance(plugin, type) else type(plugin)
    for name in dir(owner):
        member = inspect.getattr_static(owner, name, None)
        function = getattr(member, "__func__", member)
        options = getattr(function, _MARK, None)
        if options is not None:
            _check_hook(label, owner, options.get("specname") or name, function, options)
        elif name in HOOKS and callable(function):
            lost = any(hasattr(vars(base).get(name), _MARK) for base in owner.__mro__)
            if lost or provider:
                raise ProviderLoadError(
                    f"{label}: {owner.__name__}.{name} has the name of a hook but not its marker; put @vivavoce.hookimpl "
                    f"above `def {name}`{'; the override lost it' if lost else ''}"
                )


def has_hooks(plugin: object) -> bool:
    """Whether a plugin (or its class) implements any hook."""
    members = (inspect.getattr_static(plugin, name, None) for name in dir(plugin))
    return any(hasattr(getattr(member, "__func__", member), _MARK) for member in members)


def _check_hook(label: str, owner: type, name: str, function: Any, options: Any) -> None:
    where = f"{label}: {owner.__name__}.{name}"
    if name not in HOOKS:
        if options["optionalhook"]:
            return
        meant = nearest(name, HOOKS)
        raise ProviderLoadError(
            f"{where} is no hook: {f'did you mean {meant!r}?' if meant else 'hooks are ' + ', '.join(HOOKS)}"
        )
    if options["hookwrapper"]:
        raise ProviderLoadError(
            f"{where} is an old-style wrapper (hookwrapper=True); write it with wrapper=True"
        )
    if options["wrapper"] and not inspect.isgeneratorfunction(function):
        raise ProviderLoadError(
            f"{where} is a wrapper, so it must be a plain generator function with one `yield`"
        )
    if name in _PLAIN and inspect.iscoroutinefunction(function):
        raise ProviderLoadError(f"{where} is async, but nothing awaits it: make it a plain function")
    known = _arguments(name)
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise ProviderLoadError(
                f"{where} takes {parameter.name!r} by keyword only; hook arguments are positional: ({', '.join(known)})"
            )
        if (
            parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            and parameter.default is parameter.empty
            and parameter.name not in known
        ):
            raise ProviderLoadError(
                f"{where} has an argument {parameter.name!r} that the hook has not: ({', '.join(known)})"
            )


class _Spot(msgspec.Struct, frozen=True):
    """Where a hook is implemented: the plugin's place, the method's name, which arguments it takes (`None`: all)."""

    plugin: int
    method: str
    picks: tuple[int, ...] | None

    def call(self, plugins: Sequence[object], args: tuple[Any, ...]) -> Any:
        function = getattr(plugins[self.plugin], self.method)
        return function(*args) if self.picks is None else function(*(args[i] for i in self.picks))


class _Order(msgspec.Struct, frozen=True):
    """Who is called for one hook, in this order: null, if nobody else is there."""

    wrappers: tuple[_Spot, ...]
    steps: tuple[_Spot, ...]
    null: tuple[_Spot, ...]
    broadcast: bool
    tolerant: bool


Wrapper = Generator[None, Any, Any]


class _Orders(msgspec.Struct, frozen=True):
    """The order of every hook, and the hooks that a plugin other than null implements."""

    of: Mapping[str, _Order]
    answered: frozenset[str]


_known: OrderedDict[tuple[object, ...], _Orders] = OrderedDict()
_KNOWN = 256


class Relay:
    """The plugins of one voice, the first of `plugins` being the provider. `null` is the last resort: registered once,
    asked only where nobody else answers.

    pluggy checks and orders a combination of plugin classes once per process; a voice binds its own objects to that
    order, so nothing of one conversation reaches another's plugins, and a voice costs microseconds.
    """

    def __init__(self, plugins: Sequence[tuple[str, object]], null: object) -> None:
        self._plugins = [null, *(plugin for _, plugin in plugins if plugin is not null)]
        self._orders = _orders([("null", null), *((label, p) for label, p in plugins if p is not null)])
        self.hooks = self._orders.answered
        """The hooks that a plugin other than null implements."""

    def implements(self, name: str) -> bool:
        """Whether a plugin other than null implements this hook."""
        return name in self.hooks

    def plain(self, name: str, *args: Any) -> None:
        """Call a hook that is never awaited (`attach`, `on`, `off`)."""
        order, plugins = self._orders.of[name], self._plugins
        entered: list[Wrapper] = []
        failed = None
        try:
            _enter(order, plugins, args, entered)
            for spot in order.steps:
                spot.call(plugins, args)
        except Exception as raised:
            failed = raised
        _resume(entered, None, failed)

    async def call(self, name: str, *args: Any) -> Any:
        """Call a hook and its wrappers. Returns the first result that is not `None`."""
        order = self._orders.of[name]
        return await (_wrapped if order.wrappers else _run)(order, self._plugins, args)

    def ask_null(self, name: str, *args: Any) -> None:
        """Ask the null provider alone: the provider of this voice has no capability for the call."""
        for spot in self._orders.of[name].null:
            spot.call(self._plugins, args)

    def bind(self, name: str, context: object) -> Callable[[Any], Any]:
        """One callable for the audio path, wrappers included: returns `None` when done, else an awaitable."""
        order, plugins = self._orders.of[name], self._plugins
        if len(order.steps) != 1:
            return lambda audio: self.call(name, context, audio)
        spot = order.steps[0]
        if order.wrappers:
            return lambda audio: _wrapped_plain(order, plugins, (context, audio))
        if spot.picks is None:
            return partial(getattr(plugins[spot.plugin], spot.method), context)
        return lambda audio: spot.call(plugins, (context, audio))


def _orders(plugins: Sequence[tuple[str, object]]) -> _Orders:
    """The order of every hook among these plugins, from pluggy; remembered by their classes."""
    key = tuple(_class_key(plugin) for _, plugin in plugins)
    found = _known.get(key)
    if found is None:
        found = _known[key] = _register(plugins)
        if len(_known) > _KNOWN:
            _known.popitem(last=False)
    return found


def _class_key(plugin: object) -> object:
    """What decides a plugin's hooks: its class, or itself where the object carries hooks of its own (a module, say)."""
    own = getattr(plugin, "__dict__", None) or {}
    return plugin if any(hasattr(member, _MARK) for member in own.values()) else type(plugin)


def _register(plugins: Sequence[tuple[str, object]]) -> _Orders:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    for label, plugin in plugins:
        try:
            manager.register(plugin, label)
        except (ValueError, pluggy.PluginValidationError) as bad:
            raise ProviderLoadError(f"plugin {label!r} cannot be used: {bad}") from bad
    manager.check_pending()
    places = {id(plugin): number for number, (_, plugin) in enumerate(plugins)}
    orders = {name: _order(name, getattr(manager.hook, name).get_hookimpls(), places) for name in HOOKS}
    answered = frozenset(name for name, order in orders.items() if any(spot.plugin for spot in order.steps))
    return _Orders(orders, answered)


def _order(name: str, impls: Sequence[pluggy.HookImpl], places: Mapping[int, int]) -> _Order:
    arguments = _arguments(name)
    wrappers: list[_Spot] = []
    steps: list[_Spot] = []
    for impl in reversed(impls):
        given = list(impl.argnames)
        picks = None if given == arguments else tuple(map(arguments.index, given))
        # The attribute counts, not what the function behind it is called (a decorator may have changed that).
        method = impl.function.__name__ if impl.opts.get("specname") else name
        spot = _Spot(places[id(impl.plugin)], method, picks)
        (wrappers if impl.wrapper else steps).append(spot)
    null = tuple(spot for spot in steps if not spot.plugin)
    real = tuple(spot for spot in steps if spot.plugin)
    return _Order(tuple(wrappers), real or null, null, name in _BROADCAST, name == "close")


def _arguments(name: str) -> list[str]:
    return [p for p in inspect.signature(getattr(HookSpecs, name)).parameters if p != "self"]


async def _run(order: _Order, plugins: Sequence[object], args: tuple[Any, ...]) -> Any:
    if order.tolerant:
        return await _run_all(order, plugins, args)
    first = None
    for spot in order.steps:
        result = spot.call(plugins, args)
        if inspect.isawaitable(result):
            result = await result
        if result is not None and first is None:
            first = result
            if not order.broadcast:
                break
    return first


async def _run_all(order: _Order, plugins: Sequence[object], args: tuple[Any, ...]) -> None:
    """Every plugin has its turn; then the first failure is raised."""
    failed: Exception | None = None
    for spot in order.steps:
        try:
            result = spot.call(plugins, args)
            if inspect.isawaitable(result):
                await result
        except Exception as bad:
            failed = failed or bad
    if failed is not None:
        raise failed


def _enter(order: _Order, plugins: Sequence[object], args: tuple[Any, ...], entered: list[Wrapper]) -> None:
    """Enter the wrappers. When one fails, those in `entered` must see it, as they would see a failure of the call."""
    for spot in order.wrappers:
        wrapper = spot.call(plugins, args)
        try:
            next(wrapper)
        except StopIteration:
            name = f"{type(plugins[spot.plugin]).__name__}.{spot.method}"
            raise RuntimeError(f"wrapper {name} did not yield") from None
        entered.append(wrapper)


def _resume(entered: list[Wrapper], result: Any, failed: BaseException | None) -> Any:
    """Resume wrappers, innermost first, each with the outcome so far; return or raise the last outcome."""
    for wrapper in reversed(entered):
        try:
            if failed is None:
                wrapper.send(result)
            else:
                wrapper.throw(failed)
        except StopIteration as returned:
            result, failed = returned.value, None
        except BaseException as raised:
            failed = raised
        else:
            wrapper.close()
            failed = RuntimeError(f"wrapper {wrapper!r} yielded more than once")
    if failed is not None:
        raise failed
    return result


async def _wrapped(order: _Order, plugins: Sequence[object], args: tuple[Any, ...]) -> Any:
    entered: list[Wrapper] = []
    result, failed = None, None
    try:
        _enter(order, plugins, args, entered)
        result = await _run(order, plugins, args)
    except BaseException as raised:
        failed = raised
    return _resume(entered, result, failed)


def _wrapped_plain(order: _Order, plugins: Sequence[object], args: tuple[Any, ...]) -> Any:
    """Wrappers around one plain hook: no coroutine unless the hook returns an awaitable."""
    entered: list[Wrapper] = []
    result, failed = None, None
    try:
        _enter(order, plugins, args, entered)
        result = order.steps[0].call(plugins, args)
    except BaseException as raised:
        failed = raised
    if failed is None and result is not None and inspect.isawaitable(result):
        return _finish(entered, result)
    return _resume(entered, result, failed)


async def _finish(entered: list[Wrapper], pending: Any) -> Any:
    result, failed = None, None
    try:
        result = await pending
    except BaseException as raised:
        failed = raised
    return _resume(entered, result, failed)
