"""`vivavoce` itself: help, version, completion, commands of plugins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from installed import install
from vivavoce.__main__ import main as start
from vivavoce.cli import main

COMMANDS = ["talk", "plot", "providers", "doctor", "completion"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of installed distributions."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_help_lists_commands_and_where_others_are(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` has each command of its own, and the package of each that is not installed."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []
    assert "vivavoce-gateway" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`vivavoce COMMAND --help` explains it."""
    assert main([command, "--help"]) == 0
    assert f"vivavoce {command}" in capsys.readouterr().out


def test_without_arguments_it_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """No command at all shows the help as it is, not as an error of one line."""
    assert main([]) in (0, 2)
    shown = capsys.readouterr()
    assert "\nCommands:\n" in shown.out + shown.err
    assert "vivavoce: Usage" not in shown.err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the version of vivavoce and of Python."""
    assert main(["--version"]) == 0
    python = ".".join(map(str, sys.version_info[:3]))
    assert capsys.readouterr().out == f"vivavoce 0.1.0 (Python {python})\n"


@pytest.mark.parametrize(
    ("name", "package"),
    [("serve", "vivavoce-gateway"), ("conformance", "vivavoce-conformance"), ("new", "vivavoce-conformance")],
)
def test_command_that_is_not_installed_names_its_package(
    name: str, package: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what to install."""
    monkeypatch.setattr("vivavoce.registry.entries", lambda group="": ())
    assert main([name, "--port", "1"]) == 1
    assert (
        capsys.readouterr().err == f"vivavoce: {name!r} comes with another package: pip install {package}\n"
    )


def test_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error is status 2 with the command that was meant."""
    assert main(["tlak"]) == 2
    assert capsys.readouterr().err == "vivavoce: no command 'tlak': did you mean 'talk'?\n"


def test_command_of_a_plugin_runs(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A click command in the group `vivavoce.commands` is a subcommand; --help does not import it."""
    source = """
        import click

        @click.command()
        def hum():
            click.echo("mmm")
    """
    points = {
        "vivavoce.commands": {"hum": "humming:hum", "broken": "no_such_module:x", "wrong": "humming:click"}
    }
    install(site, "humming", points, {"humming": source})
    assert main(["--help"]) == 0
    assert "From humming." in capsys.readouterr().out
    assert main(["hum"]) == 0
    assert capsys.readouterr().out == "mmm\n"
    assert main(["broken"]) == 1
    assert "cannot be imported: ModuleNotFoundError" in capsys.readouterr().err
    assert main(["wrong"]) == 1
    assert "is no click command" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_for_vivavoce(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script calls vivavoce itself to complete."""
    assert main(["completion", shell]) == 0
    assert "_VIVAVOCE_COMPLETE" in capsys.readouterr().out


def test_providers_are_completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What the shell asks for: the names of installed providers."""
    monkeypatch.setenv("_VIVAVOCE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "vivavoce talk --provider nu")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out == "plain,null\n"


def test_without_its_extra_one_line_names_it() -> None:
    """Without click the command says what to install, and no more."""
    script = (
        "import importlib.util as u, sys\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'click' else real(name, *rest)\n"
        "from vivavoce.__main__ import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    expected = 'vivavoce: the command line needs click: pip install "vivavoce[cli]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_stopped_while_it_is_being_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C before a command has begun is one line, too."""

    class Stops:
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "vivavoce.cli", Stops())
    assert start() == 1
    assert capsys.readouterr().err == "vivavoce: stopped\n"


def test_reader_that_leaves_is_no_error() -> None:
    """`vivavoce providers | head -0` ends quietly."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vivavoce", "completion", "bash"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=20) == 1
