"""Two processes that would write the same result: the second is refused."""

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
def claimed_by_another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed `path` and ends with its standard input."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "claimed\n"
        yield holder


def test_the_second_process_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "new" / "model"
    with claimed_by_another(model) as holder:
        with (
            pytest.raises(UserError, match=rf"model: is being written .* \({holder.pid} on "),
            claim(model),
        ):
            pass
        with claim(tmp_path / "new" / "another"):
            pass
    with claim(model):
        pass
    assert not list(model.parent.iterdir())


def test_a_killed_process_leaves_no_claim(tmp_path: Path) -> None:
    with claimed_by_another(tmp_path / "model") as holder:
        holder.kill()
        holder.wait()
        assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]
        with claim(tmp_path / "model"):
            pass
    assert not list(tmp_path.iterdir())


def test_a_claim_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claim(tmp_path / "model"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_an_error_is_told_where_the_lock_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder was made read-only in the meantime: that is what the user has to know."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(UserError, match="no permission"), claim(tmp_path / "model"):
        monkeypatch.setattr(Path, "unlink", refuse)
        raise UserError("no permission to write there")
    monkeypatch.undo()
    with claim(tmp_path / "model"):
        pass


def test_only_the_first_process_of_a_job_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claim(tmp_path / "model"):
        monkeypatch.setenv("RANK", "1")
        with claim(tmp_path / "model"):
            pass


def test_work_goes_on_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claim(Path("/sys/gcrm/model")):
        pass

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with claim(tmp_path / "model"), claim(tmp_path / "model"):
        pass
