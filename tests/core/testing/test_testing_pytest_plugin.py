"""The pytest plugin: markers and fixtures, tried in suites of their own."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
addopts = -p vivavoce.testing.pytest_plugin --strict-markers
filterwarnings = error
"""


@pytest.fixture
def suite(pytester):
    """A function that runs the given test file and returns pytest's result."""
    pytester.makeini(INI)

    def run(source, *options):
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return run


def test_module_marker_runs_every_test_on_virtual_time(suite):
    """pytestmark = pytest.mark.virtual_clock: sleeps take no time, async fixtures share the loop."""
    result = suite("""
        import asyncio, pytest
        pytestmark = pytest.mark.virtual_clock

        @pytest.fixture
        async def warmed():
            await asyncio.sleep(100)
            return asyncio.get_running_loop()

        async def test_sleep():
            await asyncio.sleep(3600)
            assert asyncio.get_running_loop().time() == 3600

        async def test_fixture(warmed):
            assert warmed is asyncio.get_running_loop()
            assert warmed.time() == 100

        def test_plain():
            pass
    """)
    result.assert_outcomes(passed=3)
    assert result.duration < 10


def test_clock_fixture_is_enough(suite):
    """Asking for `clock` makes the test virtual; its neighbours keep real time."""
    result = suite("""
        import asyncio
        from vivavoce.testing import VirtualClockLoop

        async def test_virtual(clock):
            await clock.advance(50)
            assert clock.now == asyncio.get_running_loop().time() == 50

        async def test_real():
            assert not isinstance(asyncio.get_running_loop(), VirtualClockLoop)
    """)
    result.assert_outcomes(passed=2)


def test_marker_passes_its_options_to_the_clock(suite):
    """The marker's arguments are those of VirtualClock."""
    result = suite("""
        import pytest

        @pytest.mark.virtual_clock(io_wait=0.5)
        async def test_it(clock):
            assert clock.io_wait == 0.5
    """)
    result.assert_outcomes(passed=1)


def test_names_of_tests_stay_as_they_were(suite):
    """The choice of loop adds nothing to a test's id."""
    result = suite(
        """
        async def test_virtual(clock): pass
        async def test_real(): pass
    """,
        "-v",
    )
    result.stdout.fnmatch_lines(["*::test_virtual PASSED*", "*::test_real PASSED*"])


def test_other_loop_factories_keep_their_say(suite, pytester):
    """A suite's own choice of loop stands, but for the virtual tests."""
    pytester.makeconftest("""
        import asyncio

        class Own(asyncio.SelectorEventLoop):
            pass

        def pytest_asyncio_loop_factories(config, item):
            return {"own": Own}
    """)
    result = suite("""
        import asyncio
        async def test_virtual(clock):
            assert type(asyncio.get_running_loop()).__name__ == "VirtualClockLoop"

        async def test_own():
            assert type(asyncio.get_running_loop()).__name__ == "Own"
    """)
    result.assert_outcomes(passed=2)


def test_no_leaks_fails_the_test_that_leaks(suite):
    """The fixture `no_leaks` makes a forgotten task an error at teardown."""
    result = suite("""
        import asyncio
        keep = []

        async def test_leaks(no_leaks):
            keep.append(asyncio.create_task(asyncio.Event().wait(), name="forgotten"))

        async def test_clean(no_leaks, clock):
            await asyncio.create_task(asyncio.sleep(5))
    """)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*LeakError*"])
    result.stdout.fnmatch_lines(["*task: 'forgotten'*"])


def test_deadlock_fails_the_test_instead_of_hanging(suite):
    """A test that waits for what can never come fails at once."""
    result = suite("""
        import asyncio
        async def test_stuck(clock):
            await asyncio.Event().wait()
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*DeadlockError*"])
