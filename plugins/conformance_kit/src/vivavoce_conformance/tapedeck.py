"""`vivavoce conformance record` and `replay`: cassettes of one's own conversations, by hand."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vivavoce.cli.console import Failed, print_table

if TYPE_CHECKING:
    from vivavoce_conformance.peer.proxy import Proxy
    from vivavoce_conformance.tape import Cassette

__all__ = ["record", "replay"]

REALTIME = "vivavoce_conformance.peer.realtime:RealtimeDialect"
_PORT = click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default="any free one", help="Where to listen."
)


async def _until_stopped() -> None:
    """Until Ctrl-C, or whoever started us says stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends the loop by itself
            loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--to", "service", required=True, metavar="URL", help="The real service: ws(s)://..., or host:port."
)
@click.option(
    "--dialect", metavar="MODULE:CLASS", help="How to read it; default for ws: the Realtime protocol."
)
@click.option(
    "--secret", "secrets", multiple=True, metavar="VARIABLE",
    help="An environment variable whose value is taken out; may be repeated. Shapes of keys are, in any case.",
)  # fmt: skip
@_PORT
def record(file: Path, service: str, dialect: str | None, secrets: Sequence[str], port: int) -> int:
    """Stand between an app and its service, and write FILE when stopped.

    Prints an address to give to the app as its url. Headers, queries, subprotocols and messages are written without
    the secrets in them.
    """
    from vivavoce_conformance.peer.observer import Job
    from vivavoce_conformance.peer.proxy import Proxy

    is_websocket = service.startswith(("ws://", "wss://", "http://", "https://"))
    dialect = dialect or (REALTIME if is_websocket else "")
    job = Job(
        service=service, dialect=dialect, transport="websocket" if is_websocket else "tcp", secrets=secrets
    )
    cassette = asyncio.run(_recorded(Proxy(job), port))
    if not cassette.entries:
        raise Failed("nothing was recorded: no connection came")
    from vivavoce_conformance.tape import kinds, write_cassette

    write_cassette(file, cassette)
    click.echo(f"written: {file}, {len(cassette.connections)} connection(s), {kinds(cassette.entries)}")
    return 0


async def _recorded(proxy: Proxy, port: int) -> Cassette:
    _tell_address(await _listening(proxy.start(port), port), proxy.transport)
    await _until_stopped()
    cassette = proxy.cassette()
    if proxy.is_full:
        last = f"{cassette.entries[-1].at:.0f} s"
        click.echo(
            f"the cassette was full before the end ({last}): the rest was passed on, not recorded", err=True
        )
    await proxy.close()
    return cassette


async def _listening(started: Awaitable[int], port: int) -> int:
    try:
        return await started
    except OSError as bad:
        raise Failed(f"port {port} cannot be used: {bad.strerror or bad}; give another with --port") from bad


def _tell_address(port: int, transport: str) -> None:
    """On a line of its own, at once: scripts wait for it."""
    click.echo(f"ws://127.0.0.1:{port}/" if transport == "websocket" else f"127.0.0.1:{port}")
    click.echo("Ctrl-C ends it.", err=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dialect", metavar="MODULE:CLASS", help="How to read what the app says, instead of the recorded one."
)
@click.option("--show", is_flag=True, help="Print what is in it, and end.")
@_PORT
def replay(file: Path, dialect: str | None, show: bool, port: int) -> int:
    """Be the service of a cassette, on a real socket, until stopped.

    Prints an address to give to the app as its url. Each connection gets the next one of the recording; after the last
    it begins again. The service goes on when the app has asked what it asked in the recording.
    """
    from vivavoce_conformance.tape import read_cassette

    cassette = read_cassette(file)
    if show:
        _show(cassette)
        return 0
    if not cassette.connections:
        raise Failed(f"{file} holds no connection")
    asyncio.run(_replayed(cassette, dialect or cassette.head.dialect, port))
    return 0


async def _replayed(cassette: Cassette, dialect: str, port: int) -> None:
    from vivavoce_conformance.peer.player import Player
    from vivavoce_conformance.profile import load_object

    player = Player(lambda check: cassette, load_object(dialect) if dialect else None, again=True)

    async def start() -> int:
        server = await asyncio.start_server(player.serve, "127.0.0.1", port, limit=64 * 1024 * 1024)
        found: int = server.sockets[0].getsockname()[1]
        return found

    _tell_address(await _listening(start(), port), cassette.head.transport)
    await _until_stopped()
    player.turn_to("")
    for failure in player.told:
        click.echo(failure, err=True)


def _show(cassette: Cassette) -> None:
    head = cassette.head
    click.echo(f"{head.service} ({head.transport}), made {head.made}")
    rows = []
    for entry in cassette.entries:
        what = entry.text if entry.text is not None else f"{len(entry.data or b'')} bytes"
        if entry.open is not None or entry.close is not None:
            what = f"{'open' if entry.open is not None else 'close'} {dict(entry.open or entry.close or {})}"
        rows.append(
            (f"{entry.at:.3f}", str(entry.connection), ">" if entry.side == "provider" else "<", what[:100])
        )
    print_table(("at", "nr", "", "what"), rows)
