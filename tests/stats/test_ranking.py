"""AUROC, pairwise accuracy and correlation against libraries, slow loops, and by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from gcrm.config.metrics import MetricsSettings
from gcrm.data.scores import ScoreTable
from gcrm.stats.bootstrap import Bootstrap, interval
from gcrm.stats.compute import compute_metrics
from gcrm.stats.ranking import correlation
from helpers.score_rows import columns, pair_table, pick, plain_auroc

FAST = MetricsSettings(bootstrap_resamples=50)


def greedy(options: MetricsSettings = FAST, **change: Any) -> pd.DataFrame:
    return compute_metrics(ScoreTable.of("greedy", columns() | change), settings=options)


def test_aurocs_and_correlations_equal_those_of_scikit_learn_and_scipy() -> None:
    found, made = greedy(), columns()
    correct, lengths = made["label"], made["num_tokens"]
    by_length = roc_auc_score(correct, -lengths)
    reward = roc_auc_score(correct, made["reward"])
    assert pick(found, "auroc.length").value == pytest.approx(by_length)
    assert pick(found, "correct").value == pytest.approx(np.mean(correct))
    curves = [("auroc.reward", None, reward)]
    for share, index in ((0, lambda n: 0), (0.5, lambda n: n // 2 - 1), (1, lambda n: n - 1)):
        for name, column in (("reward", "partial_rewards"), ("q_value", "q_values")):
            values = [row[max(index(len(row)), 0)] for row in made[column]]
            curves.append((f"partial_auroc.{name}", share, roc_auc_score(correct, values)))
    for metric, share, auroc in curves:
        assert pick(found, metric, share).value == pytest.approx(auroc)
        shorter, longer = (pick(found, f"{metric}_minus_{n}", share) for n in ("length", "longer"))
        assert shorter.value == pytest.approx(auroc - by_length)
        assert longer.value == pytest.approx(auroc - 1 + by_length)
    whole, last = pick(found, "auroc.reward"), pick(found, "partial_auroc.reward", 1)
    assert whole[-6:-2] == last[-6:-2]  # value, low, high, n
    at = [max(int(n * 0.4) - 1, 0) for n in lengths]
    pair = [
        [row[i] for i, row in zip(at, made[name], strict=True)]
        for name in ("q_values", "partial_rewards")
    ]
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        value = pick(found, f"correlation.{name}", 0.4).value
        assert value == pytest.approx(function(*pair).statistic)
    assert set(found["at"][found["metric"] == "correlation.pearson"]) == {0.2, 0.4, 0.6, 0.8}


@pytest.mark.parametrize(("sign", "name"), [(-1, "length"), (1, "longer")])
def test_a_score_equal_to_the_length_does_not_beat_it(sign: int, name: str) -> None:
    lengths = columns()["num_tokens"]
    q_values = [np.full(n, sign * n) for n in lengths]
    found = greedy(reward=sign * lengths, q_values=q_values)
    minus = found["metric"].isin(
        [f"auroc.reward_minus_{name}", f"partial_auroc.q_value_minus_{name}"]
    )
    assert minus.sum() == 12
    assert found.loc[minus, ["value", "low", "high"]].to_numpy() == pytest.approx(0, abs=1e-12)


def test_one_class_has_no_auroc_but_a_reason() -> None:
    found = greedy(label=np.ones(40, bool))
    aurocs = found[found["metric"].str.contains("auroc")]
    assert len(aurocs) == 4 + 2 * 3 and aurocs["at"].isna().all()
    assert aurocs["value"].isna().all() and aurocs["low"].isna().all()
    assert aurocs["reason"].str.startswith("all 40 solutions are correct").all()
    assert pick(found, "correct").value == 1


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        ({"q_values": None}, FAST, "there are no Q-values"),
        ({}, MetricsSettings(percentiles=[], correlation_percentiles=[]), "no percentiles"),
    ],
)
def test_a_missing_curve_is_one_row_with_the_reason(
    change: dict[str, Any], options: MetricsSettings, reason: str
) -> None:
    found = greedy(options, **change)
    names = ["correlation.pearson", "correlation.spearman"]
    names += [f"partial_auroc.q_value{minus}" for minus in ("", "_minus_length", "_minus_longer")]
    for metric in names:
        row = pick(found, metric)
        assert np.isnan(row.value) and reason in row.reason
    assert pick(found, "auroc.reward").value > 0


def test_duplicated_questions_count_as_one_problem() -> None:
    twice = [f"Question {i // 2} ." if i % 2 else f"question  {i // 2}" for i in range(40)]
    found = greedy(prompt=twice)
    assert pick(found, "num_completions").value == 40
    assert pick(found, "num_problems").value == 20


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_the_interval_of_a_correlation_is_fishers(method: str) -> None:
    generator = np.random.default_rng(0)
    x = np.round(generator.normal(size=300), 1)
    y = np.round(x + generator.normal(size=300), 1)
    if method == "spearman":
        x, y = stats.rankdata(x), stats.rankdata(y)
    estimate = correlation(method, x, y, Bootstrap(np.arange(300), 2_000, 0))
    assert estimate.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert estimate.replicates is not None
    z, half = np.arctanh(estimate.value), 1.96 / np.sqrt(297)
    assert interval(estimate.replicates) == pytest.approx(np.tanh([z - half, z + half]), abs=0.03)


def test_a_missing_correlation_has_a_reason() -> None:
    for x, reason in (([1, 1, 1], "one of the two is constant"), ([1, 2], "fewer than 3 solu")):
        n = len(x)
        estimate = correlation("pearson", x, [1, 2, 3][:n], Bootstrap(np.arange(n), 10, 0))
        assert estimate.value is None and reason in str(estimate.reason)


# --- pairs ---

Sides = Sequence[Sequence[float]]


def pairs(
    prompts: Sequence[str],
    chosen: Sides,
    rejected: Sides,
    q_values: tuple[Sides, Sides] | None = None,
) -> ScoreTable:
    """Pairs with partial rewards, and Q-values, of their sides."""

    def sides(first: Sides, second: Sides) -> list[Sequence[float]]:
        return [side for pair in zip(first, second, strict=True) for side in pair]

    rewards = sides(chosen, rejected)
    scores: dict[str, Any] = {
        "reward": [row[-1] for row in rewards],
        "partial_rewards": rewards,
        "num_tokens": [len(row) for row in rewards],
        "truncated": [False] * len(rewards),
    }
    scores |= {"q_values": sides(*q_values)} if q_values else {}
    return pair_table([(prompt, "yes", "no") for prompt in prompts], scores, left_out=4)


def test_pairs_by_hand() -> None:
    """Three pairs: right and shorter, wrong and longer, and equal in both."""
    table = pairs(
        ["a", "b", "c"],
        [[9.0, 2.0], [0.0, 0.0, 0.0, 1.0], [5.0]],
        [[0.0, 0.0, 1.0], [0.0, 3.0], [5.0]],
        ([[0.9, 0.1], [0.0] * 4, [0.5]], [[0.0, 0.0, 0.2], [0.0] * 2, [0.4]]),
    )
    found = compute_metrics(table, settings=FAST)
    expected = {
        **{"num_pairs": 3, "num_prompts": 3, "num_ties": 1, "num_truncated": 0, "num_left_out": 4},
        "pairwise_accuracy.reward": 1.5 / 3,
        "pairwise_accuracy.q_value": 1.5 / 3,  # wrong, equal, right
        "pairwise_accuracy.length": 1.5 / 3,
        "pairwise_accuracy.longer": 1.5 / 3,
        "pairwise_accuracy.reward_minus_length": 0,
        "pairwise_accuracy.reward_minus_longer": 0,
        "margin": (1 - 2 + 0) / 3,
    }
    for name, value in expected.items():
        assert pick(found, name).value == pytest.approx(value), name
    first = pick(found, "partial_pairwise_accuracy.reward", 0)
    assert first.value == pytest.approx((1 + 0.5 + 0.5) / 3)  # 9 above 0, 0 and 0, 5 and 5
    half = pick(found, "partial_pairwise_accuracy.q_value", 0.5)
    assert half.value == pytest.approx((1 + 0.5 + 1) / 3)  # tokens 0 of 2, 0 of 3; 1, 0; 0, 0
    whole = pick(found, "pairwise_accuracy.reward")
    assert whole[-6:-2] == pick(found, "partial_pairwise_accuracy.reward", 1)[-6:-2]


token_lists = st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=5)
made_pair = st.tuples(st.sampled_from(["q 1?", "Q 1", "q 2", "q 3"]), token_lists, token_lists)


@given(st.lists(made_pair, min_size=1, max_size=12))
@settings(max_examples=40)
def test_every_share_is_counted_pair_by_pair(
    made: list[tuple[str, list[float], list[float]]],
) -> None:
    prompts, chosen, rejected = zip(*made, strict=True)
    table = pairs(prompts, chosen, rejected, (rejected, chosen))
    options = MetricsSettings(bootstrap_resamples=20, percentiles=[0, 0.4, 1])
    found = compute_metrics(table, settings=options)
    better = {
        "pairwise_accuracy.reward": [c[-1] - r[-1] for _, c, r in made],
        "pairwise_accuracy.q_value": [r[-1] - c[-1] for _, c, r in made],
        "pairwise_accuracy.longer": [len(c) - len(r) for _, c, r in made],
        "pairwise_accuracy.length": [len(r) - len(c) for _, c, r in made],
    }
    for name, gaps in better.items():
        share = np.mean([(np.sign(gap) + 1) / 2 for gap in gaps])
        assert pick(found, name).value == pytest.approx(share)
    for p in options.percentiles:
        at = [[row[max(int(len(row) * p) - 1, 0)] for row in pair[1:]] for pair in made]
        share = np.mean([(np.sign(c - r) + 1) / 2 for c, r in at])
        value = pick(found, "partial_pairwise_accuracy.reward", p).value
        assert value == pytest.approx(share)
    assert pick(found, "margin").value == pytest.approx(np.mean(better["pairwise_accuracy.reward"]))
    distinct = {"q 1" if q in ("q 1?", "Q 1") else q for q in prompts}
    assert pick(found, "num_prompts").value == len(distinct)
    assert pick(found, "num_ties").value == better["pairwise_accuracy.reward"].count(0)


def test_intervals_resample_prompts_whole() -> None:
    """They are those of a slow bootstrap that draws prompts with all of their pairs."""
    generator = np.random.default_rng(0)
    # Margins share a part within each prompt.
    margins = generator.normal(0.4, 1, (30, 1)) + generator.normal(0, 0.5, (30, 4))
    names = [f"prompt {i // 4}" for i in range(120)]
    table = pairs(names, [[m] for m in margins.ravel()], [[0.0]] * 120)
    options = MetricsSettings(bootstrap_resamples=4000, percentiles=[])
    row = pick(compute_metrics(table, settings=options), "pairwise_accuracy.reward")
    right, generator = margins > 0, np.random.default_rng(1)
    means = [right[generator.integers(0, 30, 30)].mean() for _ in range(4000)]
    assert (row.low, row.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    alone = np.sqrt(right.mean() * (1 - right.mean()) / right.size)
    assert row.high - row.low > 1.5 * 2 * 1.96 * alone  # pairs of a prompt go together


def test_a_difference_from_the_length_is_paired() -> None:
    """A reward that is the length differs from it by nothing, in every resample."""
    lengths = np.random.default_rng(0).integers(1, 9, (2, 50))
    chosen, rejected = ([[float(n)] * n for n in row] for row in lengths)
    found = compute_metrics(pairs([f"q {i}" for i in range(50)], chosen, rejected), settings=FAST)
    same, other = (pick(found, f"pairwise_accuracy.reward_minus_{n}") for n in ("longer", "length"))
    assert (same.low, same.high) == pytest.approx((0, 0), abs=1e-12)
    assert other.low < other.high
    reward, longer = (pick(found, f"pairwise_accuracy.{name}") for name in ("reward", "longer"))
    assert (reward.low, reward.high) == pytest.approx((longer.low, longer.high))


def test_pairs_without_q_values_have_the_reason() -> None:
    found = compute_metrics(pairs(["q"], [[1.0, 2.0]], [[1.0, 2.0]]), settings=FAST)
    for metric in ("pairwise_accuracy.q_value", "partial_pairwise_accuracy.q_value"):
        assert "there are no Q-values" in pick(found, metric).reason
    assert pick(found, "pairwise_accuracy.reward").value == 0.5


# --- samples of a problem ---


def test_the_pairwise_accuracies_of_samples_equal_those_of_all_their_couples() -> None:
    made = columns(problems=20, per_problem=3)
    found = compute_metrics(ScoreTable.of("all", made), settings=FAST)
    both = [p for p in range(20) if 0 < sum(made["label"][3 * p : 3 * p + 3]) < 3]
    assert len(both) < 20
    last = np.array([row[-1] for row in made["q_values"]])
    rounded = np.round(made["reward"])  # has ties
    tied = compute_metrics(ScoreTable.of("all", made | {"reward": rounded}), settings=FAST)
    for name, score, frame in (
        ("reward", made["reward"], found),
        ("reward", rounded, tied),
        ("q_value", last, found),
        ("length", -made["num_tokens"], found),
    ):
        by_problem = []
        for p in both:
            rows = range(3 * p, 3 * p + 3)
            couples = [(i, j) for i in rows for j in rows if made["label"][i] > made["label"][j]]
            by_problem.append([(np.sign(score[i] - score[j]) + 1) / 2 for i, j in couples])
        row = pick(frame, f"pairwise_accuracy.{name}")
        assert (row.value, row.n) == (
            pytest.approx(np.mean([*map(np.mean, by_problem)])),
            len(both),
        )
        assert row.low <= row.value <= row.high
        row = pick(frame, f"pooled_pairwise_accuracy.{name}")
        pooled = np.concatenate(by_problem)
        assert (row.value, row.n) == (pytest.approx(pooled.mean()), len(pooled))
        assert row.low <= row.value <= row.high
    one_class = ScoreTable.of("all", made | {"label": np.zeros(60, bool)})
    without = compute_metrics(one_class, settings=FAST)
    for kind in ("pairwise_accuracy", "pooled_pairwise_accuracy"):
        reason = pick(without, f"{kind}.reward").reason
        assert reason == "no problem has both correct and incorrect solutions"


def test_a_problem_counts_by_its_couples_where_they_are_pooled() -> None:
    """One problem of 1 couple in order, one of 4 of which none is."""
    made = {
        "prompt": ["a", "a", "b", "b", "b", "b"],
        "label": [True, False, True, True, False, False],
        "sample": [0, 1, 0, 1, 2, 3],
        "reward": [2, 1, 1, 1, 2, 2],
        "num_tokens": [1] * 6,
        "truncated": [False] * 6,
        "predicted_answer": ["1"] * 6,
    }
    found = compute_metrics(ScoreTable.of("all", made), settings=FAST)
    assert pick(found, "pairwise_accuracy.reward").value == 1 / 2
    assert pick(found, "pooled_pairwise_accuracy.reward").value == pytest.approx(1 / 5)


# --- AUROC of the k-th samples ---

SHARES = MetricsSettings(bootstrap_resamples=400, percentiles=[0.0, 0.4, 1.0])


def test_the_auroc_over_samples_is_the_mean_of_scikit_learns_with_both_intervals() -> None:
    problems, samples = 30, 6
    made = columns(problems, samples)
    made["label"][::samples] = True  # samples of number 0 have one class only: they have no AUROC
    found = compute_metrics(ScoreTable.of("all", made), settings=SHARES)
    label = made["label"].reshape(problems, samples)

    def aurocs(scores: Any, rows: Any = slice(None), of: Any = plain_auroc) -> list[Any]:
        columns = [(label[rows, k], np.reshape(scores, label.shape)[rows, k]) for k in range(1, 6)]
        return [of(*one) for one in columns if 0 < one[0].mean() < 1]

    by_share = [[row[max(int(len(row) * 0.4) - 1, 0)] for row in made["q_values"]]]
    generator = np.random.default_rng(1)
    for name, at, scores in (
        ("auroc{}.reward", None, made["reward"]),
        ("auroc{}.length", None, -made["num_tokens"]),
        ("partial_auroc{}.reward", 1.0, made["reward"]),
        ("partial_auroc{}.q_value", 0.4, by_share),
    ):
        each = aurocs(scores, of=roc_auc_score)
        assert each == pytest.approx(aurocs(scores))
        problem, sample = (
            pick(found, name.format(f"_over_{o}"), at) for o in ("problems", "samples")
        )
        assert problem.value == sample.value == pytest.approx(np.mean(each))
        assert (problem.n, sample.n) == (problems, 5)
        drawn = [np.mean(aurocs(scores, generator.integers(0, 30, 30))) for _ in range(1000)]
        assert (problem.low, problem.high) == pytest.approx(
            np.quantile(drawn, [0.025, 0.975]), abs=0.02
        )
        half = 1.96 * np.std(each, ddof=1) / np.sqrt(5)  # of a mean of five
        assert (sample.high - sample.low) / 2 == pytest.approx(half, rel=0.12)
        assert sample.low < sample.value < sample.high


@pytest.mark.parametrize(
    ("samples", "label", "reasons"),
    [
        (3, False, ["no sample number has both correct and incorrect solutions"] * 2),
        (1, None, [None, "one sample has no interval over samples"]),
    ],
)
def test_an_auroc_that_has_no_interval_over_samples_says_why(
    samples: int, label: bool | None, reasons: list[str | None]
) -> None:
    made = columns(20, samples)
    made |= {} if label is None else {"label": np.full(20 * samples, label)}
    found = compute_metrics(ScoreTable.of("all", made), settings=FAST)
    for over, reason in zip(("problems", "samples"), reasons, strict=True):
        whole = pick(found, f"auroc_over_{over}.reward")
        assert (whole.reason if isinstance(whole.reason, str) else None) == reason
        curve = found[found["metric"] == f"partial_auroc_over_{over}.q_value"]
        assert len(curve) == (1 if reason else 11)
