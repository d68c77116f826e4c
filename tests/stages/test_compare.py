"""`python -m gcrm.compare`: against the metrics file, resampled rows, and slow loops."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gcrm.cli import run_stage
from gcrm.compare import run
from gcrm.config.compare import CompareOptions
from gcrm.config.metrics import MetricsOptions
from gcrm.data.questions import question_key
from gcrm.metrics import run as run_metrics
from gcrm.stats.bootstrap import Bootstrap
from gcrm.stats.seeds import seed_weights
from helpers.score_rows import columns, write_columns

RESAMPLES = 60
Json = dict[str, Any]


def completions(per_problem: int = 1, **options: Any) -> Json:
    """Completions with the scores of some model."""
    return columns(problems=30, per_problem=per_problem, **options)


def scores(model: int, per_problem: int = 1, with_q_values: bool = True) -> Json:
    """The same completions, scored by the model of this number."""
    first, generator = completions(per_problem), np.random.default_rng(model)

    def shaken(rows: list[Any]) -> list[Any]:
        return [row + generator.normal(0, 0.7, len(row)).astype(np.float32) for row in rows]

    partial = shaken(first["partial_rewards"])
    changed: Json = {"partial_rewards": partial, "reward": [row[-1] for row in partial]}
    changed["q_values"] = [np.tanh(row) for row in shaken(first["q_values"])]
    made = first | changed
    return made if with_q_values else {k: v for k, v in made.items() if k != "q_values"}


def write(tmp_path: Path, variant: str, seed: int, split: str, table: Json) -> Path:
    path = tmp_path / "scores" / variant / f"seed{seed}" / "gsm8k" / split / "scores.parquet"
    write_columns(path, table)
    return path


def compared(tmp_path: Path, greedy: list[Path], sampled: list[Path], **options: Any) -> Json:
    output = tmp_path / "comparisons" / "gsm8k.json"
    run(
        CompareOptions(
            scores=greedy,
            sample_scores=sampled,
            output=output,
            bootstrap_resamples=RESAMPLES,
            **options,
        )
    )
    found: Json = json.loads(output.read_text())
    return found


MODELS = [("vanilla", 0), ("vanilla", 1), ("contrastive", 0), ("contrastive", 1)]


def both(tmp_path: Path, models: list[tuple[str, int]]) -> tuple[list[Path], list[Path]]:
    """The files of the models' greedy and sampled scores."""
    greedy = [write(tmp_path, *m, "greedy", scores(MODELS.index(m) + 1)) for m in models]
    sampled = [write(tmp_path, *m, "all", scores(MODELS.index(m) + 1, 5)) for m in models]
    return greedy, sampled


@pytest.fixture(scope="module")
def one_seed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    folder = tmp_path_factory.mktemp("one")
    return folder, compared(folder, *both(folder, [("vanilla", 0), ("contrastive", 0)]))


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    folder = tmp_path_factory.mktemp("two")
    return folder, compared(folder, *both(folder, MODELS))


def estimates(part: Any, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], Json]:
    """All estimates in a part of a file, by their place."""
    if not isinstance(part, dict):
        return {}
    if "value" in part:
        return {place: part}
    return {
        where: each
        for key, inner in part.items()
        for where, each in estimates(inner, (*place, key)).items()
    }


def metrics_of(folder: Path, variant: str, seed: int) -> dict[tuple[str, ...], Json]:
    home = folder / "scores" / variant / f"seed{seed}" / "gsm8k"
    output = folder / "metrics" / variant / f"seed{seed}" / "gsm8k.json"
    run_metrics(
        MetricsOptions(
            scores=home / "greedy" / "scores.parquet",
            sample_scores=home / "all" / "scores.parquet",
            output=output,
            bootstrap_resamples=RESAMPLES,
        )
    )
    return estimates(json.loads(output.read_text()))


def test_of_one_seed_the_estimates_are_those_of_its_metrics(one_seed: tuple[Path, Json]) -> None:
    folder, found = one_seed
    for variant in ("vanilla", "contrastive"):
        expected = metrics_of(folder, variant, 0)
        mine = estimates(found["variants"][variant])
        assert len(mine) == 3 + 3 * 2 * 11 + 8
        for place, estimate in mine.items():
            assert estimate["seeds"] == {"0": estimate["value"]}
            assert ("p" in estimate) == (place[-1] == "difference")
            for key in ("value", "interval", "n"):
                assert estimate[key] == pytest.approx(expected[place][key]), place


def test_a_difference_is_that_of_the_values_with_a_paired_interval(
    one_seed: tuple[Path, Json],
) -> None:
    _, found = one_seed
    (pair,) = found["differences"]
    assert (pair["variant"], pair["baseline"]) == ("contrastive", "vanilla")
    first, second = (estimates(found["variants"][name]) for name in ("contrastive", "vanilla"))
    mine = estimates(pair)
    lengths = ("length", "longer")
    partial = {
        ("partial_auroc", f"{score}_minus_{length}", f"{tenths / 10:g}")
        for score in ("reward", "q_value")
        for length in lengths
        for tenths in range(11)
    }
    assert set(first) - set(mine) == partial | {
        *(("auroc", f"reward_minus_{length}") for length in lengths),
        ("voting", "filtered", "difference"),
        ("voting", "filter_chosen", "difference"),
    }
    for place, estimate in mine.items():
        value = first[place]["value"] - second[place]["value"]
        assert estimate["value"] == pytest.approx(value)
        assert estimate["interval"][0] <= estimate["value"] <= estimate["interval"][1]
        assert 0 < estimate["p"] <= 1


def resampled_rows() -> list[Any]:
    """The rows of each resample, slowly: problems are drawn in the order of their questions."""
    by_question = np.argsort([question_key(text) for text in completions()["prompt"]])
    counts = np.concatenate(list(Bootstrap(np.arange(30), RESAMPLES, seed=0).counts()), axis=1).T
    return [np.repeat(by_question, count.astype(int)) for count in counts]


def test_the_interval_is_that_of_the_resampled_rows(one_seed: tuple[Path, Json]) -> None:
    _, found = one_seed
    first, second = scores(3), scores(1)
    correct = np.array(first["label"])
    replicates = []
    for rows in resampled_rows():
        aurocs = [
            roc_auc_score(correct[rows], np.array(one["reward"])[rows]) for one in (first, second)
        ]
        replicates.append(aurocs[0] - aurocs[1])
    estimate = found["differences"][0]["auroc"]["reward"]
    assert estimate["interval"] == pytest.approx(np.quantile(replicates, [0.025, 0.975]))
    rarer = min(sum(d <= 0 for d in replicates), sum(d >= 0 for d in replicates))
    assert estimate["p"] == pytest.approx(min(1, 2 * (1 + rarer) / (1 + RESAMPLES)))


def test_several_seeds_are_resampled_with_the_problems(two_seeds: tuple[Path, Json]) -> None:
    folder, found = two_seeds
    (pair,) = found["differences"]
    values, replicates = {}, []
    for seed in (0, 1):
        alone = compared(folder, *both(folder, [("vanilla", seed), ("contrastive", seed)]))
        values[str(seed)] = alone["differences"][0]["auroc"]["reward"]["value"]
        correct = np.array(completions()["label"])
        tables = [scores(MODELS.index((name, seed)) + 1) for name in ("contrastive", "vanilla")]
        aurocs = [
            [roc_auc_score(correct[r], np.array(one["reward"])[r]) for r in resampled_rows()]
            for one in tables
        ]
        replicates.append(np.subtract(*aurocs))
    estimate = pair["auroc"]["reward"]
    assert estimate["seeds"] == pytest.approx(values)
    assert estimate["value"] == pytest.approx(np.mean(list(values.values())))
    drawn = (seed_weights(2, RESAMPLES, seed=0) * replicates).sum(axis=0)
    assert estimate["interval"] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_what_the_filter_changes_is_tested_over_problems_and_seeds(
    two_seeds: tuple[Path, Json],
) -> None:
    """Of the vote with the filter and without, of both seeds, in the same resamples."""
    folder, found = two_seeds
    for variant in ("vanilla", "contrastive"):
        voting = found["variants"][variant]["voting"]
        for section in ("filtered", "filter_chosen"):
            change = voting[section]["difference"]
            each = [
                metrics_of(folder, variant, seed)["voting", section, "difference"]["value"]
                for seed in (0, 1)
            ]
            assert change["seeds"] == pytest.approx({"0": each[0], "1": each[1]})
            assert change["value"] == pytest.approx(np.mean(each))
            low, high = change["interval"]
            assert low <= change["value"] <= high
            assert change["p"] >= 0.05 or low > 0 or high < 0


def test_few_seeds_are_said_to_be_few(
    one_seed: tuple[Path, Json], two_seeds: tuple[Path, Json]
) -> None:
    for found, seeds, note in ((one_seed[1], [0], "one seed"), (two_seeds[1], [0, 1], "2 seeds")):
        for part in (*found["variants"].values(), *found["differences"]):
            assert part["seeds"] == seeds
            assert note in part["note"]


def test_the_order_of_rows_does_not_matter(tmp_path: Path, one_seed: tuple[Path, Json]) -> None:
    greedy, sampled = both(tmp_path, [("vanilla", 0), ("contrastive", 0)])
    for split, per_problem in (("greedy", 1), ("all", 5)):
        table = scores(3, per_problem)
        order = np.random.default_rng(0).permutation(len(table["prompt"]))
        shuffled = {name: [values[i] for i in order] for name, values in table.items()}
        write(tmp_path, "contrastive", 0, split, shuffled)
    found = compared(tmp_path, greedy, sampled)["differences"][0]
    expected = estimates(one_seed[1]["differences"][0])
    for place, estimate in estimates(found).items():
        for key in ("value", "interval", "p"):
            assert estimate[key] == pytest.approx(expected[place][key]), place


def test_the_same_scores_do_not_differ(tmp_path: Path) -> None:
    greedy = [write(tmp_path, name, 0, "greedy", scores(1)) for name in ("a", "b")]
    for estimate in estimates(compared(tmp_path, greedy, [])["differences"][0]).values():
        assert (estimate["value"], estimate["interval"], estimate["p"]) == (0, [0, 0], 1)


def test_any_pairs_can_be_asked_for(tmp_path: Path) -> None:
    greedy = [write(tmp_path, name, 0, "greedy", scores(k)) for k, name in enumerate("abc")]

    def pairs(**options: Any) -> list[tuple[str, str]]:
        found = compared(tmp_path, greedy, [], **options)["differences"]
        return [(one["variant"], one["baseline"]) for one in found]

    assert pairs() == [("b", "a"), ("c", "a")]
    assert pairs(baseline="b") == [("a", "b"), ("c", "b")]
    assert pairs(pairs=["c:b", "b:c"]) == [("c", "b"), ("b", "c")]
    there, back = compared(tmp_path, greedy, [], pairs=["c:b", "b:c"])["differences"]
    there, back = there["auroc"]["reward"], back["auroc"]["reward"]
    assert there["value"] == -back["value"]
    assert there["interval"] == pytest.approx([-end for end in reversed(back["interval"])])
    assert there["p"] == back["p"]


def test_one_variant_alone_has_intervals_over_its_seeds_and_no_differences(tmp_path: Path) -> None:
    greedy, sampled = both(tmp_path, [("vanilla", 0), ("vanilla", 1)])
    found = compared(tmp_path, greedy, sampled)
    assert found["differences"] == []
    assert len(found["variants"]["vanilla"]["auroc"]["reward"]["seeds"]) == 2


def test_what_a_model_lacks_has_a_reason(tmp_path: Path) -> None:
    greedy = [
        write(tmp_path, name, 0, "greedy", scores(1, with_q_values=name == "b")) for name in "ab"
    ]
    sampled = [
        write(tmp_path, name, 0, "all", scores(1, 3, with_q_values=name == "b")) for name in "ab"
    ]
    found = compared(tmp_path, greedy, sampled)
    pair = found["differences"][0]
    assert pair["auroc"]["reward"]["value"] == 0
    assert pair["voting"]["best_of_n"]["value"] == 0
    for estimate in (
        *pair["partial_auroc"]["q_value"].values(),
        *found["variants"]["a"]["partial_auroc"]["q_value_minus_longer"].values(),
        *pair["voting"]["filtered"].values(),
        *pair["voting"]["filter_chosen"].values(),
    ):
        assert estimate["value"] is None
        assert "there are no Q-values" in estimate["reason"]


def test_one_class_has_a_reason(tmp_path: Path) -> None:
    one_class = {"label": np.ones(30, bool)}
    greedy = [
        write(tmp_path, name, 0, "greedy", scores(k) | one_class) for k, name in enumerate("ab")
    ]
    found = compared(tmp_path, greedy, [])
    for part in (*found["variants"].values(), *found["differences"]):
        for estimate in estimates(part).values():
            assert estimate["value"] is None
            assert estimate["reason"].startswith("all 30 solutions are correct")


def test_the_settings_of_metrics_hold_here_too(tmp_path: Path) -> None:
    greedy, sampled = both(tmp_path, [("vanilla", 0), ("contrastive", 0)])
    found = compared(tmp_path, greedy, sampled, percentiles=[0.3], filter_threshold=-1)
    assert list(found["variants"]["vanilla"]["partial_auroc"]["q_value"]) == ["0.3"]
    assert found["variants"]["vanilla"]["voting"]["filtered"]["tokens_saved"]["value"] == 0
    assert found["settings"]["filter_threshold"] == -1


def test_comparisons_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    greedy, sampled = both(tmp_path, MODELS)
    output = tmp_path / "comparisons" / "gsm8k.json"
    compared(tmp_path, greedy, sampled)
    first = output.read_bytes()
    compared(tmp_path, greedy, sampled)
    assert output.read_bytes() == first
    provenance = json.loads(Path(f"{output}.provenance.json").read_text())
    assert set(provenance["inputs"]) == {str(path) for path in (*greedy, *sampled)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": ["other.parquet"]}, "other.parquet: does not name its model; expected .../<v"),
        ({"scores": ["{a}", "{a}"]}, "a second file of a, seed 0"),
        ({"scores": ["{a}", "{svamp}"]}, "files of several benchmarks (gsm8k, svamp)"),
        ({"scores": ["{a}", "x/b/seed1/gsm8k/greedy/no.parquet"]}, "no.parquet: no such file"),
        (
            {"sample_scores": ["{a}"]},
            "a, seed 0 on gsm8k; expected those of --scores: a, seed 0, b",
        ),
        ({"baseline": ["z"]}, "there is no variant 'z'; there are a, b"),
        ({"pairs": ["b:z"]}, "there is no variant 'z'; there are a, b"),
        ({"pairs": ["b:b"]}, "compares a variant with itself"),
        ({"pairs": ["b:a", "b:a"]}, "pairs: one is there more than once"),
        ({"pairs": ["b"]}, "--pairs.0: String should match pattern"),
        ({"pairs": ["b:a"], "baseline": ["a"]}, "baseline does nothing beside pairs"),
        ({"scores": ["{a}", "{fewer}"]}, "1 of its rows are missing here"),
    ],
)
def test_mistakes_are_one_clear_line(
    tmp_path: Path,
    change: dict[str, list[str]],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = scores(1)
    paths = {name: str(write(tmp_path, name, 0, "greedy", table)) for name in "ab"}
    fewer = {name: list(values)[1:] for name, values in table.items()}
    paths["fewer"] = str(write(tmp_path, "fewer", 0, "greedy", fewer))
    paths["svamp"] = str(tmp_path / "b" / "seed0" / "svamp" / "greedy" / "scores.parquet")
    given = {"scores": ["{a}", "{b}"], "output": [str(tmp_path / "o.json")]} | change
    words = [
        word
        for name, values in given.items()
        for word in (f"--{name}", *(value.format(**paths) for value in values))
    ]
    assert run_stage(CompareOptions, run, words) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("compare: error: ")
    assert message in line


def test_no_torch_is_imported() -> None:
    code = "import sys, gcrm.compare; sys.exit(any(m in sys.modules for m in ('torch', 'sympy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
