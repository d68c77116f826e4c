"""What a filter changes in the vote and what it saves: by Q-values, and the control by length."""

from gcrm.reporting.comparison_tables import difference_cell
from gcrm.reporting.formats import number
from gcrm.reporting.results import Json, Results
from gcrm.stats.bootstrap import holm
from gcrm.stats.places import CHANGE

LENGTH = "length alone"
SPARED = {
    "tokens saved": "tokens_saved",
    "samples dropped": "samples_dropped",
    "correct samples before": "correct_share_before",
    "correct samples after": "correct_share_after",
}
"""Columns, and what a filter's section of the metrics calls them; not all filters have all."""


def filter_table(results: Results) -> list[list[str]]:
    """Benchmark and filter: the change against the vote of all samples, and what is spared.

    The p of a change is over problems and seeds, and corrected (Holm) over the benchmarks of one
    filter.
    """
    given = "; ".join(f"{value:g}" for value in results.settings("filter_threshold"))
    filters = [
        (variant, section, threshold)
        for variant in results.variants
        for section, threshold in (("filtered", given), ("filter_chosen", "chosen"))
    ]
    filters.append((LENGTH, "length_filter_chosen", "chosen"))
    rows: dict[str, list[list[str]]] = {benchmark: [] for benchmark in results.sampled()}
    for name, section, threshold in filters:
        changes = {
            benchmark: change
            for benchmark in rows
            if (change := _estimate(results, name, benchmark, section, CHANGE)) is not None
        }
        corrected = holm([change["p"] for change in changes.values()])
        for (benchmark, change), p in zip(changes.items(), corrected, strict=True):
            spared = [_estimate(results, name, benchmark, section, key) for key in SPARED.values()]
            rows[benchmark].append(
                [benchmark, name, threshold, difference_cell(change | {"p_holm": p}, percent=True)]
                + [number(one, percent=True) for one in spared]
            )
    head = ["benchmark", "filter", "threshold", "votes right: change", *SPARED]
    return [head, *(row for of_benchmark in rows.values() for row in of_benchmark)]


def _estimate(results: Results, name: str, benchmark: str, section: str, key: str) -> Json | None:
    path = ("voting", section, key)
    if name == LENGTH:  # the same for all models
        return results.any_variant(benchmark, *path)
    found = results.mean(name, benchmark, *path)
    if found is None or key != CHANGE or "p" in found:
        return found
    # Without comparisons, the claim has to hold for each seed.
    return found | {"p": max(one["p"] for one in results.each(name, benchmark, *path))}
