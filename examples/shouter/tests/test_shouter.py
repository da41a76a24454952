"""The provider keeps every promise that vivavoce makes for it."""

from vivavoce_conformance import assert_conformant


def test_conformance() -> None:
    """Every MUST that holds for its capabilities."""
    assert_conformant("shouter")
