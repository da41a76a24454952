"""What holds for every test."""

from __future__ import annotations

import os

import hypothesis

pytest_plugins = ["vivavoce.testing.pytest_plugin"]

# Time limits are pytest-timeout's. On a shared machine a deadline an example would only say how busy it is.
hypothesis.settings.register_profile("usual", deadline=None, max_examples=100, derandomize="CI" in os.environ)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=20_000, derandomize=False)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))
