from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme
from faults import Recorder, leak_guard


@pytest.fixture(autouse=True)
async def _nothing_leaks() -> AsyncIterator[None]:
    """Every test here leaves no task, file descriptor or thread."""
    async with leak_guard():
        yield


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> Callable[[str], ssl.SSLContext]:
    """Make the context of a server that shows a certificate for a name."""

    def make(name: str = "localhost") -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        return context

    return make


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A context that trusts the throw-away authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
