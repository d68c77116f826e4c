"""What was interrupted, and how it ended: a table that grows run by run, and its summary."""

import csv
from collections import Counter
from dataclasses import astuple, dataclass, fields
from pathlib import Path


@dataclass
class Interruption:
    """One interruption, and the end of what was interrupted.

    Attributes:
        run: what was interrupted, and went on until it was done; often several times.
        kind: what was done to it; see `kinds`.
        stage: the stage that was at work.
        moment: CPU seconds that the stage had used; for the server and Slurm, seconds.
        seen: what came of it at once.
        completed: whether the run was completed in the end.
        compared: files, or answers of the server, compared with those of the undisturbed run.
        differing: those of them that differ, by name.
    """

    run: str
    kind: str
    stage: str
    moment: float
    seen: str
    completed: bool = False
    compared: int = 0
    differing: str = ""


class Record:
    """All interruptions so far.

    Args:
        path: the CSV file; what it has already is read, and more is added.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._open = path, list[Interruption]()
        self.ended: list[Interruption] = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                self.ended = [_of_row(row) for row in csv.DictReader(file)]
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write([field.name for field in fields(Interruption)])

    def add(self, run: str, kind: str, stage: str, moment: float, seen: str) -> None:
        """Note an interruption; its run has not ended yet."""
        self._open.append(Interruption(run, kind, stage, round(moment, 2), seen))
        number = len(self.ended) + len(self._open)
        print(f"{number:3} {run}: {kind}, {stage} after {moment:.1f} s: {seen}", flush=True)

    def end(self, completed: bool, compared: int, differing: list[str]) -> None:
        """The run of the latest interruptions has ended."""
        done = "completed" if completed else "not completed"
        print(f"    {done}, {len(differing)} of {compared} differ {differing or ''}", flush=True)
        for one in self._open:
            one.completed, one.compared, one.differing = completed, compared, " ".join(differing)
            self._write(list(astuple(one)))
        self.ended += self._open
        self._open = []

    def summary(self) -> str:
        """The counts, in a few lines."""
        completions = sum(one.completed for one in self.ended)
        differing = {(one.run, name) for one in self.ended for name in one.differing.split()}
        first = f"{len(self.ended)} interruptions, {completions} completions, "
        return "\n".join(
            [
                first + f"{len(differing)} differences",
                _counts("kind", [one.kind for one in self.ended]),
                _counts("stage", [one.stage for one in self.ended]),
            ]
        )

    def _write(self, values: list[object]) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(values)


def _of_row(row: dict[str, str]) -> Interruption:
    end = {"completed": row["completed"] == "True", "compared": int(row["compared"])}
    return Interruption(**row | {"moment": float(row["moment"])} | end)


def _counts(what: str, values: list[str]) -> str:
    return f"by {what}: " + ", ".join(f"{name} {n}" for name, n in Counter(values).most_common())
