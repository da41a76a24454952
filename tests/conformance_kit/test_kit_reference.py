"""The registry of checks, and the page that is made from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vivavoce.provider import CAPABILITIES
from vivavoce_conformance.checks import CHECKS
from vivavoce_conformance.reference import as_markdown
from vivavoce_conformance.registry import family

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "conformance-checks.md"


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


def test_ids_are_never_used_twice() -> None:
    """A second check with a known id is an error."""
    with pytest.raises(ValueError, match="never used twice"):
        family("x")("VV-CON-001")(lambda bench: None)  # type: ignore[arg-type, return-value]
