"""Two processes and one result: the second says so, and a killed one is in nobody's way."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gcrm.utils.errors import UserError
from gcrm.utils.locks import claim

HOLDER = """
import sys
from pathlib import Path
from gcrm.utils.locks import claim
with claim(Path(sys.argv[1])):
    print("claimed", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """One that has claimed `path`, and ends with its standard input."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "claimed\n"
    try:
        yield holder
    finally:
        holder.communicate()


def test_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    with other_process(tmp_path / "new" / "model") as holder:
        with (
            pytest.raises(UserError, match="is being written by another process") as told,
            claim(tmp_path / "new" / "model"),
        ):
            pass
        assert f"({holder.pid} on " in str(told.value)
        with claim(tmp_path / "new" / "another"):
            pass
    with claim(tmp_path / "new" / "model"):
        pass
    assert not list((tmp_path / "new").iterdir())


def test_a_killed_one_leaves_no_claim(tmp_path: Path) -> None:
    with other_process(tmp_path / "model") as holder:
        holder.kill()
        holder.wait()
        assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]
        with claim(tmp_path / "model"):
            pass
    assert not list(tmp_path.iterdir())


def test_processes_that_share_a_job_claim_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claim(tmp_path / "model"):
        monkeypatch.setenv("RANK", "1")
        with claim(tmp_path / "model"):
            pass
    monkeypatch.setenv("RANK", "0")
    with claim(tmp_path / "model"):
        pass


def test_a_claim_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claim(tmp_path / "model"):
        raise ZeroDivisionError
    with claim(tmp_path / "model"):
        pass


def test_without_locks_or_a_place_for_them_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claim(Path("/sys/gcrm/model")):
        pass

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with claim(tmp_path / "model"), claim(tmp_path / "model"):
        pass
