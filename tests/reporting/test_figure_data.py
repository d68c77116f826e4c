"""Data of the figures from score tables and training logs."""

import resource
from pathlib import Path

import numpy as np
import pytest

from gcrm.data.ragged import Ragged
from gcrm.reporting.figure_data import (
    SHARES,
    ScoreSummary,
    centred,
    course_of,
    mean_course,
    mean_of_seeds,
    summarise_scores,
    training_curves,
)
from gcrm.reporting.results import NORMAL
from gcrm.stats.bootstrap import Bootstrap, interval, ratio_replicates, sum_by
from gcrm.utils.errors import UserError
from helpers.rows import write_rows
from helpers.score_rows import columns, score_file, write_columns


def test_course_leaves_out_the_last_token() -> None:
    course = course_of(Ragged.of([[5.0], [1.0, 9.0], [0.0, 0.5, 1.0, 9.0]]))
    assert course.shape == (3, 21)
    assert set(course[0]) == {5.0}  # the end token alone
    assert set(course[1]) == {1.0}
    assert [course[2][0], course[2][10], course[2][20]] == [0.0, 0.5, 1.0]


def test_mean_course_and_interval_agree_with_a_bootstrap_over_problems() -> None:
    generator = np.random.default_rng(0)
    problem = generator.integers(0, 80, 400)
    of_problem = generator.normal(0, 1, (80, 1))
    course = (of_problem[problem] + generator.normal(0, 0.3, (400, 21))).astype(np.float32)
    found = mean_course(course, problem)
    assert found is not None and found[0].shape == found[1].shape == SHARES.shape
    means, reach = found
    _, cluster = np.unique(problem, return_inverse=True)
    bootstrap = Bootstrap(cluster, 4000, 0)
    for share in (0, 7, 20):
        above = sum_by(cluster, course[:, share], bootstrap.problems)
        below = sum_by(cluster, np.ones(400), bootstrap.problems)
        expected = interval(ratio_replicates(above, below, bootstrap))
        assert means[share] == pytest.approx(course[:, share].mean(), abs=1e-6)
        ends = [means[share] - reach[share], means[share] + reach[share]]
        assert ends == pytest.approx(expected, abs=0.02)


def test_single_problem_has_no_interval() -> None:
    found = mean_course(np.ones((2, 21), np.float32), np.array([3, 3]))
    assert found is not None and found[0][0] == 1 and np.isnan(found[1]).all()
    assert mean_course(np.ones((0, 21), np.float32), np.array([], np.int64)) is None


def test_mean_of_seeds_by_hand() -> None:
    """Seeds share problems, so their mean has the interval of one seed, plus the seeds' spread."""
    one, other = (np.array([0.6]), np.array([0.1])), (np.array([0.8]), np.array([0.2]))
    value, reach = mean_of_seeds([one, other])
    # Two seeds at 0.7 ± 0.1: variance 0.02, of their mean 0.01, times 1.96 squared.
    assert value == pytest.approx(0.7)
    assert reach == pytest.approx(np.sqrt((0.1**2 + 0.2**2) / 2 + NORMAL**2 * 0.01))
    assert mean_of_seeds([one]) == one


def test_summary_separates_correct_and_incorrect_solutions(tmp_path: Path) -> None:
    table = columns(problems=30)
    write_columns(tmp_path / "scores.parquet", table)
    found = summarise_scores(tmp_path / "scores.parquet")
    correct = table["label"]
    np.testing.assert_allclose(found.correct, table["reward"][correct], rtol=1e-6)
    np.testing.assert_allclose(found.incorrect, table["reward"][~correct], rtol=1e-6)
    first = [values[0] for values, good in zip(table["q_values"], correct, strict=True) if good]
    assert found.q_correct is not None
    assert found.q_correct[0][0] == pytest.approx(np.mean(first), abs=1e-6)
    assert found.q_range is not None and -1 <= found.q_range[0] < found.q_range[1] <= 1


def test_scores_without_q_values_have_no_course(tmp_path: Path) -> None:
    found = summarise_scores(score_file(tmp_path / "scores.parquet", with_q_values=False))
    assert (found.q_correct, found.q_incorrect, found.q_range) == (None, None, None)


def test_rewards_of_seeds_are_centred_and_pooled() -> None:
    def model(shift: float) -> dict[str, ScoreSummary]:
        one = ScoreSummary(np.array([2.0]) + shift, np.array([0.0]) + shift)
        other = ScoreSummary(np.array([1.0]) + shift, np.empty(0))
        return {"a": one, "b": other}

    found = centred([model(0), model(100)])
    np.testing.assert_allclose(found["a"][0], [1, 1])
    np.testing.assert_allclose(found["a"][1], [-1, -1])
    np.testing.assert_allclose(found["b"][0], [0, 0])


def test_training_curves_of_a_log(tmp_path: Path) -> None:
    rows = [{"step": step, "preference_loss": 0.7 - step / 100} for step in (1, 2, 3)]
    rows.append({"step": 3, "eval_accuracy": 0.6})
    found = training_curves(write_rows(tmp_path / "log.jsonl", *rows))
    assert set(found) == {"preference_loss", "eval_accuracy"}
    np.testing.assert_allclose(found["preference_loss"], [[1, 2, 3], [0.69, 0.68, 0.67]])


def test_long_log_is_averaged_in_blocks(tmp_path: Path) -> None:
    rows = [{"step": step, "accuracy": step % 2} for step in range(1000)]
    steps, values = training_curves(write_rows(tmp_path / "log.jsonl", *rows))["accuracy"]
    assert len(steps) == 100
    np.testing.assert_allclose(values, 0.5)
    assert steps[0] == 4.5


def test_log_may_be_empty_but_not_invalid(tmp_path: Path) -> None:
    assert training_curves(write_rows(tmp_path / "log.jsonl")) == {}
    for row in ({"accuracy": 0.5}, {"step": 1, "accuracy": "high"}):
        with pytest.raises(UserError, match="accuracy or its step is not a number"):
            training_curves(write_rows(tmp_path / "log.jsonl", row))
    with pytest.raises(UserError, match="no such file"):
        training_curves(tmp_path / "nothing.jsonl")


@pytest.mark.slow
def test_table_of_250_000_solutions_fits_into_the_memory_of_the_rule(tmp_path: Path) -> None:
    n = 250_000
    generator = np.random.default_rng(0)
    lengths = generator.integers(200, 400, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = generator.uniform(-1, 1, offsets[-1]).astype(np.float32)
    ragged = Ragged(values, offsets)
    table = columns(problems=1)
    table = {name: np.resize(np.asarray(column, object), n) for name, column in table.items()}
    table |= {"prompt": [f"question {i}" for i in range(n)], "num_tokens": lengths}
    table |= {"label": generator.random(n) < 0.5, "reward": generator.normal(size=n)}
    table |= {"q_values": ragged, "partial_rewards": ragged}
    write_columns(tmp_path / "scores.parquet", table)
    del table, ragged, values
    found = summarise_scores(tmp_path / "scores.parquet")
    assert len(found.correct) + len(found.incorrect) == n
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert peak < 4000
