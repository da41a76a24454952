"""What is committed speaks of the project alone, on any machine."""

from __future__ import annotations

import re

from house import ROOT, committed_files

# Written with brackets, so that this file does not match itself.
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:wor[k]|roo[t]|hom[e]/\w+|User[s]/\w+)/|[A-Z]:\\User[s]")
REGISTRY_HOSTS = re.compile(
    r"pypi[.]or[g]|pythonhosted[.]or[g]|npmjs[.]or[g]|yarnpkg[.]co[m]|deb[.]debian[.]or[g]|proxy[.]golang[.]or[g]"
)
LARGEST = 1_000_000


def find_in_text(pattern: re.Pattern[str]) -> list[str]:
    """Every place where `pattern` stands in committed text."""
    found = []
    for path in committed_files():
        content = path.read_bytes()
        if b"\0" in content[:8000] or len(content) > LARGEST:
            continue
        for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found


def test_no_path_of_a_machine() -> None:
    """No path of the machine that something was written on."""
    assert find_in_text(MACHINE_PATHS) == []


def test_no_host_of_a_package_registry() -> None:
    """Where packages come from is for whoever installs them to say."""
    assert find_in_text(REGISTRY_HOSTS) == []


def test_no_lock_file_with_hosts() -> None:
    """Versions are pinned in constraints.txt; a lock file would hold the hosts they came from."""
    names = {path.name for path in committed_files()}
    assert names & {"uv.lock", "poetry.lock", "Pipfile.lock", "package-lock.json"} == set()


def test_constraints_hold_versions_alone() -> None:
    """Every line of constraints.txt is one exact version, with a marker at most."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    form = re.compile(r"#.*|[a-z0-9][a-z0-9.-]*==[\w.+]+( ; [^/]+)?")
    assert [line for line in lines if not form.fullmatch(line)] == []


def test_text_is_utf_8_with_unix_line_ends() -> None:
    """Text files are UTF-8 without carriage returns, and end with one."""
    wrong = []
    for path in committed_files():
        content = path.read_bytes()
        if b"\0" in content[:8000] or not content:
            continue
        content.decode("utf-8")
        if b"\r\n" in content or not content.endswith(b"\n"):
            wrong.append(str(path.relative_to(ROOT)))
    assert wrong == []


def test_no_large_file() -> None:
    """Nothing above a megabyte: recordings and models are fetched, not committed."""
    assert [str(path) for path in committed_files() if path.stat().st_size > LARGEST] == []
