"""`vivavoce`: its subcommands, those of plugins, and how every error becomes one line and an exit status."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from vivavoce import __version__, registry
from vivavoce.cli.console import Failed, complain, debug_option, is_debugging
from vivavoce.config import nearest
from vivavoce.errors import ProviderLoadError, VoiceError

__all__ = ["cli", "run"]

_OWN = {
    "talk": "Hold a conversation: files or text in, a live transcript, sound and a recording out.",
    "plot": "Draw the timeline of a recording.",
    "replay": "Hold a recorded conversation again, and compare: a regression test.",
    "devices": "List microphones and speakers; test and measure them.",
    "providers": "List the installed providers.",
    "doctor": "Check the installation, or one provider.",
    "completion": "Print the completion script of a shell.",
}
# Commands of plugins that are published with vivavoce, and where they come from.
_ELSEWHERE = {
    "serve": "vivavoce-gateway",
    "conformance": "vivavoce-conformance",
    "new": "vivavoce-conformance",
}


class _Commands(click.Group):
    """Finds a subcommand when it is asked for: here, or by entry point in the group `vivavoce.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        plugins = {found.name for found in registry.entries(registry.COMMANDS)} - set(_OWN)
        return [*_OWN, *sorted(plugins)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _OWN:
            command = getattr(importlib.import_module(f"vivavoce.cli.{cmd_name}"), cmd_name)
            assert isinstance(command, click.Command)
            return command
        wanted = registry.normalize(cmd_name)
        if any(registry.normalize(found.name) == wanted for found in registry.entries(registry.COMMANDS)):
            loaded, found = registry.load(cmd_name, registry.COMMANDS)
            if not isinstance(loaded, click.Command):
                raise ProviderLoadError(
                    f"{found.origin} is no click command: its author must fix the entry point"
                )
            return loaded
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is not None or name.startswith("-"):
            return (command.name if command else None), command, args[1:]
        if name in _ELSEWHERE:
            raise Failed(f"{name!r} comes with another package: pip install {_ELSEWHERE[name]}")
        meant = nearest(name, [*self.list_commands(ctx), *_ELSEWHERE])
        hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(self.list_commands(ctx))}"
        raise click.UsageError(f"no command {name!r}: {hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, which imports none of them."""
        plugins = {found.name: f"From {found.distribution}." for found in registry.entries(registry.COMMANDS)}
        rows = [*_OWN.items(), *sorted(item for item in plugins.items() if item[0] not in _OWN)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        missing = sorted(item for item in _ELSEWHERE.items() if item[0] not in plugins)
        if missing:
            with formatter.section("From other packages"):
                formatter.write_dl([(name, f"pip install {package}") for name, package in missing])


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog="Errors go to stderr in one line. "
    "Exit status: 0, 1 (failed), 2 (wrong use)."
)  # fmt: skip
@click.version_option(
    __version__, message=f"vivavoce {__version__} (Python {'.'.join(map(str, sys.version_info[:3]))})"
)
@debug_option
def cli() -> None:
    """Realtime voice over any provider: speech in, speech out.

    \b
    vivavoce providers                              what is installed
    vivavoce talk --provider local --in hello.wav   a first conversation
    vivavoce doctor                                 when something does not work
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    is_debugging(False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a transcript may hold what the terminal cannot show
    try:
        status = cli.main(arguments, prog_name="vivavoce", standalone_mode=False)
    except (click.ClickException, click.Abort, KeyboardInterrupt, VoiceError, Failed, OSError) as bad:
        return _explain(bad)
    return status if isinstance(status, int) else 0


def _explain(bad: BaseException) -> int:
    """Say what went wrong, in one line; return the exit status."""
    if (
        isinstance(bad, click.UsageError) and type(bad).__name__ == "NoArgsIsHelpError"
    ):  # of click 8.2 and later
        click.echo(bad.format_message(), err=True)
        return 2
    if isinstance(bad, click.UsageError):
        text = bad.format_message().rstrip(".")
        where = bad.ctx.command_path if bad.ctx is not None else "vivavoce"
        complain(text if text.endswith("?") else f"{text} (see `{where} --help`)", where)
        return 2
    if isinstance(bad, BrokenPipeError):
        # Whoever read our output has left: nobody is to be told, and the flush at exit must have somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if is_debugging() and not isinstance(bad, click.ClickException):
        traceback.print_exception(bad)
    if isinstance(bad, click.ClickException):
        complain(bad.format_message())
    else:
        complain("stopped" if isinstance(bad, (click.Abort, KeyboardInterrupt)) else str(bad))
    return 1
