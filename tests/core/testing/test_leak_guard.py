"""The leak guard names everything a block leaves behind, and nothing else."""

# ruff: noqa: PT012, SIM115  what leaks must be begun inside the guarded block
from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import warnings

import pytest
from vivavoce.testing import LeakError, LeakGuard, no_leaks, virtual_run

QUICK = {"grace": 0.02}


def leaks_of(caught):
    return [leak.kind for leak in caught.value.leaks]


async def test_clean_block_passes():
    """A block that ends all it began raises nothing."""
    async with no_leaks(**QUICK):
        task = asyncio.create_task(asyncio.sleep(0))
        await task
        await asyncio.to_thread(int)
        with open(os.devnull) as file:
            file.read()


async def test_leaked_task_is_named_with_its_stack():
    """A task still running is named, with the chain of awaits it waits in."""

    async def forgotten():
        await asyncio.Event().wait()

    with pytest.raises(LeakError, match="forgotten-task") as caught:
        async with no_leaks(**QUICK):
            task = asyncio.create_task(forgotten(), name="forgotten-task")
            await asyncio.sleep(0)
    assert leaks_of(caught) == ["task"]
    assert "forgotten (" in caught.value.leaks[0].what
    assert f"{__file__}:" in caught.value.leaks[0].what
    task.cancel()


async def test_task_that_is_about_to_end_is_no_leak():
    """A task that needs some turns of the loop, and no time, may end while the guard looks."""

    async def closing():
        for _ in range(4):
            await asyncio.sleep(0)

    async with no_leaks(**QUICK):
        task = asyncio.create_task(closing())
    assert task.done()


async def test_leaked_thread_is_named():
    """A thread still running is named, with the place it is at."""
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="forgotten-thread")
    with pytest.raises(LeakError, match="forgotten-thread") as caught:
        async with no_leaks(**QUICK):
            thread.start()
    gate.set()
    thread.join()
    assert leaks_of(caught) == ["thread"]
    assert "wait (" in caught.value.leaks[0].what


async def test_thread_that_ends_within_the_grace_is_no_leak():
    """A thread gets a moment of real time to end."""
    async with no_leaks(grace=2):
        threading.Timer(0.02, int).start()


async def test_leaked_file_is_named_by_its_path(tmp_path):
    """An open file is named by its path."""
    path = tmp_path / "forgotten.wav"
    with pytest.raises(LeakError, match=r"forgotten\.wav") as caught:
        async with no_leaks(**QUICK):
            file = path.open("wb")
    file.close()
    assert leaks_of(caught) == ["fd"]


async def test_leaked_socket_is_named_by_its_addresses():
    """An open socket is named by its own address and its peer's."""
    with pytest.raises(LeakError) as caught:
        async with no_leaks(**QUICK):
            listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    assert leaks_of(caught) == ["fd"]
    assert str(port) in caught.value.leaks[0].what


async def test_reused_descriptor_number_is_seen(tmp_path):
    """A new file under the number of an old one is a leak all the same."""
    old = (tmp_path / "old").open("wb")
    with pytest.raises(LeakError, match="new"):
        async with no_leaks(**QUICK):
            number = old.fileno()
            old.close()
            new = (tmp_path / "new").open("wb")
            assert new.fileno() == number
    new.close()


def test_leaked_child_process_is_named_by_its_command():
    """A child still running is named by its command line."""
    with pytest.raises(LeakError, match=r"import sys; sys\.stdin\.read") as caught, LeakGuard(**QUICK):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
        )
    child.communicate()
    assert sorted(leaks_of(caught)) == ["child", "fd"]


def test_child_that_nobody_waited_for_is_a_leak():
    """A zombie is a leak: its parent never collected it."""
    with pytest.raises(LeakError, match="nobody waited") as caught, LeakGuard(**QUICK):
        child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
        child.stdout.read()
        child.stdout.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.wait()
    assert leaks_of(caught) == ["child"]


async def test_coroutine_never_awaited_is_named():
    """A coroutine that was made and dropped is named, also where warnings are errors."""

    async def never_awaited():
        pass

    with pytest.raises(LeakError, match="never_awaited") as caught:
        async with no_leaks(**QUICK):
            never_awaited()
    assert leaks_of(caught) == ["coroutine"]


async def test_unclosed_resource_is_named():
    """A file dropped without close is named, though its descriptor is gone."""
    with pytest.raises(LeakError, match="unclosed file") as caught:
        async with no_leaks(**QUICK):
            open(os.devnull)
    assert leaks_of(caught) == ["resource"]


async def test_exception_nobody_saw_is_named(caplog):
    """A task that failed and that nobody asked for its result is named with its error."""

    async def failing():
        raise OSError("nobody saw this")

    with pytest.raises(LeakError, match="nobody saw this") as caught:
        async with no_leaks(**QUICK):
            task = asyncio.create_task(failing())
            await asyncio.sleep(0)
            del task
            gc.collect()
    assert leaks_of(caught) == ["asyncio"]
    assert "never retrieved" in caplog.text


async def test_other_warnings_go_where_they_went():
    """The guard takes only its own warnings."""
    with pytest.warns(UserWarning, match="mind the gap"):
        async with no_leaks(**QUICK):
            warnings.warn("mind the gap", UserWarning, stacklevel=1)


async def test_what_was_there_before_is_no_leak(tmp_path):
    """Tasks, threads and files of before the block are not looked at."""
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    task = asyncio.create_task(asyncio.Event().wait())
    with (tmp_path / "open").open("wb"):
        async with no_leaks(**QUICK):
            await asyncio.sleep(0)
    gate.set()
    thread.join()
    task.cancel()


async def test_the_blocks_own_exception_goes_on():
    """A block that raises keeps its exception; the leaks are a note on it."""
    with pytest.raises(KeyError) as caught:
        async with no_leaks(**QUICK):
            task = asyncio.create_task(asyncio.sleep(99), name="left-behind")
            raise KeyError("the real failure")
    assert any("left-behind" in note for note in caught.value.__notes__)
    task.cancel()


async def test_warnings_and_handler_are_restored():
    """After the block, filters and the loop's exception handler are as before."""
    before = (
        list(warnings.filters),
        warnings.showwarning,
        asyncio.get_running_loop().get_exception_handler(),
    )
    async with no_leaks(**QUICK):
        pass
    after = (list(warnings.filters), warnings.showwarning, asyncio.get_running_loop().get_exception_handler())
    assert after == before


def test_plain_guard_around_a_whole_loop():
    """`with` guards a block that runs loops of its own."""
    with LeakGuard():
        virtual_run(asyncio.sleep(60))


def test_every_leak_is_listed():
    """The text has one line for each leak."""

    async def main():
        async with no_leaks(**QUICK):
            for number in range(3):
                keep.append(asyncio.create_task(asyncio.sleep(1), name=f"left-{number}"))

    keep = []
    with pytest.raises(LeakError) as caught:
        virtual_run(main())
    assert [f"left-{number}" in str(caught.value) for number in range(3)] == [True, True, True]
    assert str(caught.value).startswith("left over: 3")
