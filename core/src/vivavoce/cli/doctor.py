"""`vivavoce doctor`: what is there, what is missing and how to get it, what is broken."""

from __future__ import annotations

import attrs
import click

from vivavoce import __version__, registry
from vivavoce.cli.checks import Check, check_environment, check_extras, check_plugins, check_python
from vivavoce.cli.console import complain, debug_option, has_colour, json_option, print_json
from vivavoce.cli.probe import Probe, probe
from vivavoce.cli.providers import Listed, list_providers
from vivavoce.cli.tier import find_proof

__all__ = ["doctor"]

_SIGNS = {"ok": ("ok", "green"), "missing": ("--", "yellow"), "broken": ("!!", "red")}
_DEEP_DEADLINE_S = 60.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False)
@click.option("--traceback", is_flag=True, help="With NAME: the whole traceback of a failed import.")
@json_option
@debug_option
def doctor(name: str | None, traceback: bool, as_json: bool) -> None:
    """Check the installation, or one provider by NAME.

    Tells what is there, what is missing and how to install it, and what is broken. Credentials are named by their
    variable and never shown. Exit status 1 if something is broken; what is merely not installed is not.
    """
    sections = _one(name, traceback) if name is not None else _everything()
    checks = [check for section in sections.values() for check in section]
    broken = [check for check in checks if check.state == "broken"]
    if as_json:
        shown = {title: [check.as_json() for check in section] for title, section in sections.items()}
        print_json({"vivavoce": __version__, "ok": not broken, **shown})
    else:
        _show(sections)
    if broken:
        complain(f"{len(broken)} broken: {', '.join(check.what for check in broken)}", "vivavoce doctor")
        click.get_current_context().exit(1)


def _everything() -> dict[str, list[Check]]:
    return {
        "python": check_python(),
        "extras": check_extras(),
        "providers": [_provider(entry) for entry in list_providers()],
        "plugins": check_plugins(),
        "environment": check_environment(),
    }


def _provider(entry: Listed) -> Check:
    what = f"{entry.name} ({entry.distribution} {entry.version})"
    if not entry.allowed:
        return Check("missing", what, entry.problem or "not allowed")
    if entry.problem is not None:
        return Check("broken", what, entry.problem, f"vivavoce doctor {entry.name} --traceback")
    if entry.missing:
        variables = ", ".join(entry.missing)
        return Check("missing", what, f"not set: {variables}", f"export {entry.missing[0]}=...")
    for extra in check_extras(entry.distribution):  # `pico` needs the extra `pico` of its distribution
        if extra.what == entry.name and extra.state != "ok":
            return attrs.evolve(extra, what=what)
    can = " ".join(entry.capabilities) or "does nothing but warn"
    return Check("ok", what, f"{can}  [{entry.proof}]" if entry.proof is not None else can)


def _one(name: str, traceback: bool) -> dict[str, list[Check]]:
    found = registry.find(name)
    result = probe([found.name], deadline=_DEEP_DEADLINE_S)[found.name]
    about = [
        Check("ok", "distribution", f"{found.distribution} {found.version}"),
        Check("ok", "entry point", f"{found.entry_point.name} = {found.entry_point.value}"),
    ]
    if result.error is not None:
        hint = "" if traceback else f"vivavoce doctor {found.name} --traceback"
        about.append(Check("broken", "import", result.error, hint))
        if traceback and result.trace:
            click.echo(result.trace, err=True)
        return {found.name: about}
    about += [*_details(result), _conformance(found)]
    return {found.name: about, "requirements": check_extras(found.distribution)}


def _details(result: Probe) -> list[Check]:
    import os

    checks = [Check("ok", "import", f"{result.import_ms:.0f} ms")]
    for what, words in (
        ("capabilities", result.capabilities),
        ("hooks", result.hooks),
        ("config keys", result.config_keys),
        ("connect options", result.connect_options),
    ):
        checks.append(Check("ok", what, " ".join(words) or "none"))
    for variable in result.credentials.values():
        there = bool(os.environ.get(variable, "").strip())
        checks.append(
            Check("ok", variable, "set")
            if there
            else Check("missing", variable, "not set", f"export {variable}=...")
        )
    return checks


def _conformance(found: registry.Found) -> Check:
    """What the report beside it says; one that is missing or old is no fault."""
    proof = find_proof(found)
    hint = f"vivavoce conformance {found.name} --out report"
    if proof is None:
        return Check("missing", "conformance", "no report lies beside it", hint)
    told = f"{proof}, made {proof.made[:10]}, {proof.path}"
    if proof.current and proof.tier != "not conformant":
        return Check("ok", "conformance", told)
    return Check("missing", "conformance", told, hint)


def _show(sections: dict[str, list[Check]]) -> None:
    live = has_colour()
    for title, checks in sections.items():
        click.secho(title, bold=live)
        width = max((len(check.what) for check in checks), default=0)
        for check in checks:
            sign, colour = _SIGNS[check.state]
            mark = click.style(sign, fg=colour) if live else sign
            hint = f"  ->  {check.hint}" if check.hint else ""
            click.echo(f"  {mark} {check.what:<{width}}  {check.found}{hint}".rstrip())
