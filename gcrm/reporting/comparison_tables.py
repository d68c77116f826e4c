"""Tables of what `compare` found: the differences of variants, corrected over benchmarks.

The p of a difference is corrected (Holm) over the benchmarks that have it: the family is one number
(AUROC of the reward, say) of one pair of variants. It is not corrected over numbers or pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcrm.reporting.formats import number, p_value
from gcrm.reporting.metrics_files import read_comparisons_file
from gcrm.stats.bootstrap import holm
from gcrm.stats.places import Place, estimates
from gcrm.stats.seeds import ENOUGH
from gcrm.utils.errors import UserError

Json = dict[str, Any]
Columns = Mapping[str, Place]

AUROC: Columns = {
    "reward": ("auroc", "reward"),
    "reward, half the tokens": ("partial_auroc", "reward", "0.5"),
    "Q-value, half the tokens": ("partial_auroc", "q_value", "0.5"),
    "Q-value, last token": ("partial_auroc", "q_value", "1"),
}
"""Columns of a table of differences in AUROC; those that no file has are left out."""
VOTES: Columns = {
    "Q-filtered": ("voting", "filtered", "accuracy"),
    "Q-filtered, chosen t": ("voting", "filter_chosen", "accuracy"),
    "tokens saved, chosen t": ("voting", "filter_chosen", "tokens_saved"),
    "weighted by reward": ("voting", "reward_weighted"),
    "best of n": ("voting", "best_of_n"),
}
"""Columns of a table of differences in votes, in % of problems or tokens."""


@dataclass(frozen=True)
class Comparisons:
    """The comparisons of a run by benchmark, in the order of the files."""

    by_benchmark: dict[str, Json]

    def over_seeds(self, variant: str, benchmark: str, *place: str) -> Json | None:
        """A variant's estimate with an interval over seeds and problems; None where there is none.

        It has the place of the metrics file's estimate of one seed, for which it stands in.
        """
        variants = self.by_benchmark.get(benchmark, {}).get("variants", {})
        return _at(variants.get(variant, {}), place)

    def pairs(self) -> list[tuple[str, str]]:
        """The (variant, baseline) that are compared."""
        return list(dict.fromkeys((d["variant"], d["baseline"]) for _, d in self._all()))

    def differences(self, pair: tuple[str, str], place: Place) -> dict[str, Json]:
        """The difference at `place` by benchmark, each with `p_holm`; without those of no value."""
        found = {
            benchmark: estimate
            for benchmark, each in self._all()
            if (each["variant"], each["baseline"]) == pair
            and (estimate := _at(each, place)) is not None
            and estimate["value"] is not None
        }
        corrected = holm([estimate["p"] for estimate in found.values()])
        return {
            benchmark: estimate | {"p_holm": p}
            for (benchmark, estimate), p in zip(found.items(), corrected, strict=True)
        }

    def seeds(self) -> int:
        """The smallest number of seeds that a difference rests on; 0 without differences."""
        return min((len(each["seeds"]) for _, each in self._all()), default=0)

    def places(self) -> list[Place]:
        """All numbers that there are differences of."""
        return list(dict.fromkeys(place for _, each in self._all() for place in estimates(each)))

    def _all(self) -> Iterator[tuple[str, Json]]:
        for benchmark, content in self.by_benchmark.items():
            for each in content["differences"]:
                yield benchmark, each


def read_comparisons(paths: Sequence[Path]) -> Comparisons:
    """Read comparisons files.

    Raises:
        UserError: a file is missing or no comparisons file, or two are of the same benchmark.
    """
    found: dict[str, Json] = {}
    for path in paths:
        content = read_comparisons_file(path)
        if content["benchmark"] in found:
            raise UserError(f"{path}: second file for {content['benchmark']}")
        found[content["benchmark"]] = content
    return Comparisons(found)


def comparison_table(
    comparisons: Comparisons, columns: Columns = AUROC, percent: bool = False
) -> list[list[str]]:
    """Benchmark and pair against the differences, each with interval and corrected p.

    Columns and rows without any number are left out; there may be none but the head.
    """
    found = {
        (pair, name): by_benchmark
        for pair in comparisons.pairs()
        for name, place in columns.items()
        if (by_benchmark := comparisons.differences(pair, place))
    }
    names = [name for name in columns if any(name == column for _, column in found)]
    rows = [["benchmark", "variant", "baseline", *names]]
    for benchmark in comparisons.by_benchmark:
        for pair in comparisons.pairs():
            estimates = [found.get((pair, name), {}).get(benchmark) for name in names]
            if any(estimates):
                rows.append(
                    [benchmark, *pair, *(difference_cell(one, percent) for one in estimates)]
                )
    return rows


def seeds_table(comparisons: Comparisons) -> list[list[str]]:
    """The reward's difference of every seed, by benchmark and pair; with one, the head alone."""
    found = [
        (benchmark, pair, estimate["seeds"])
        for pair in comparisons.pairs()
        for benchmark, estimate in comparisons.differences(pair, AUROC["reward"]).items()
        if len(estimate["seeds"]) > 1
    ]
    seeds = list(dict.fromkeys(seed for *_, values in found for seed in values))
    rows = [["benchmark", "variant", "baseline", *(f"seed {seed}" for seed in seeds)]]
    for benchmark, pair, values in found:
        cells = [f"{values[seed]:+.3f}" if seed in values else "–" for seed in seeds]
        rows.append([benchmark, *pair, *cells])
    return rows


def comparison_rows(comparisons: Comparisons, votes: bool | None = None) -> list[list[Any]]:
    """For CSV, a row for each difference and one more for each of its seeds.

    Args:
        votes: only the differences of votes, or only all others; default: all.
    """
    rows: list[list[Any]] = [
        [
            *("benchmark", "variant", "baseline", "measure", "seed"),
            *("value", "low", "high", "n", "p", "p_holm"),
        ]
    ]
    for pair in comparisons.pairs():
        for place in comparisons.places():
            if votes is not None and (place[0] == "voting") != votes:
                continue
            for benchmark, found in comparisons.differences(pair, place).items():
                where = [benchmark, *pair, ".".join(place)]
                low, high = found["interval"] or (None, None)
                numbers = [found["value"], low, high, found["n"], found["p"], found["p_holm"]]
                rows.append([*where, None, *numbers])
                if len(found["seeds"]) > 1:
                    for seed, value in found["seeds"].items():
                        rows.append([*where, seed, value, None, None, found["n"], None, None])
    return rows


def seeds_text(comparisons: Comparisons) -> str:
    """What the intervals hold for, in a sentence for the report."""
    count = comparisons.seeds()
    if count <= 1:
        return "Intervals are over problems, of one seed each: they say nothing of other seeds."
    text = f"Intervals resample problems and the {count} seeds, the same for both variants."
    return text if count >= ENOUGH else text + " Fewer than five say little about other seeds."


def difference_cell(estimate: Json | None, percent: bool) -> str:
    """`+0.034 [-0.002, 0.074], p = 0.427`, of an estimate with `p_holm`; `–` for none."""
    if estimate is None:
        return "–"
    sign = "+" if estimate["value"] > 0 else ""
    p = p_value(estimate["p_holm"])
    return f"{sign}{number(estimate, percent=percent)}, p {p if p.startswith('<') else '= ' + p}"


def _at(part: Any, place: Place) -> Json | None:
    for key in place:
        part = part.get(key) if isinstance(part, dict) else None
    return part if isinstance(part, dict) and "value" in part else None
