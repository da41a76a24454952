"""The registry of checks, and the page that is made from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from vivavoce.provider import CAPABILITIES
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.reference import as_markdown
from vivavoce_conformance.registry import RETIRED, family

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "conformance-checks.md"
LEDGER = Path(__file__).with_name("ids.json")


def test_page_is_that_of_the_registry() -> None:
    """To renew it: `python -c "from vivavoce_conformance.reference import as_markdown; print(as_markdown(), end='')"`."""
    assert PAGE.read_text() == as_markdown()


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
def test_check_is_complete(check: object) -> None:
    """Each has an id of the form, a sentence, a heading in the docs, and needs only capabilities that exist."""
    assert re.fullmatch(r"VV-CON-\d{3}", check.id)  # type: ignore[attr-defined]
    assert check.sentence.endswith(".")  # type: ignore[attr-defined]
    assert check.needs | check.any_of <= CAPABILITIES  # type: ignore[attr-defined]
    assert f"### {check.id}\n" in PAGE.read_text()  # type: ignore[attr-defined]


def test_ids_are_never_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second check with a known id is an error, also when the first one is no more."""
    monkeypatch.setitem(RETIRED, "VV-CON-999", "It was there once.")
    for id in ("VV-CON-001", "VV-CON-999"):
        with pytest.raises(ValueError, match="never used twice"):
            family("x")(id)(lambda bench: None)  # type: ignore[arg-type, return-value]


def test_ids_mean_what_they_meant() -> None:
    """Every id that was ever given is in the ledger, with its check; one that is no more is retired.

    To add new ones: `python tests/conformance_kit/test_kit_reference.py`.
    """
    ledger = json.loads(LEDGER.read_text())
    now = {id: check.function.__name__ for id, check in CHECKS.items()}
    assert {id: name for id, name in ledger.items() if id not in RETIRED} == now
    assert ledger.keys() >= RETIRED.keys()


if __name__ == "__main__":
    known = json.loads(LEDGER.read_text()) if LEDGER.exists() else {}
    new = {id: check.function.__name__ for id, check in sorted(CHECKS.items()) if id not in known}
    LEDGER.write_text(json.dumps(known | new, indent=1, sort_keys=True) + "\n")
