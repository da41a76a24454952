"""`vivavoce completion`: what a shell needs to complete subcommands, options and provider names."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

from vivavoce import registry

__all__ = ["complete_provider", "completion"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash, zsh:  eval "$(vivavoce completion bash)"    in ~/.bashrc or ~/.zshrc
    fish:       vivavoce completion fish > ~/.config/fish/completions/vivavoce.fish
    """
    from vivavoce.cli.app import cli

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "vivavoce", "_VIVAVOCE_COMPLETE")
    # Not .source(): that of bash runs a bash to learn its version, and complains on our stdout.
    click.echo(script.source_template % script.source_vars())


def complete_provider(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """The names of installed providers that begin with what was typed; imports none of them."""
    return [
        CompletionItem(found.name, help=found.distribution)
        for found in registry.entries()
        if found.name.startswith(typed)
    ]
