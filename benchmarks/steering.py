"""Guided decoding in a made world, whose attributes a program can check.

    python benchmarks/steering.py --folder results/steer          # on the test problems
    python benchmarks/steering.py --folder results/steer --dev    # the settings that were tried

makes for each seed word problems with solutions in several styles, a language model that writes all
of them, a contrastive and, as a control, a vanilla reward model, goal states of 20 examples an
attribute by both, and steers. What lies in the folder is not made again. results/published/steer
tells what came out.

The attributes are correctness, the number of words, and the number of checks (`check 21 - 9 = 12`).
A pair of the preference data is two solutions of one problem, of which one has more of an
attribute; each attribute makes at most one pair of a problem.
"""

import argparse
import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from gcrm.config.steer import METHODS, SteerOptions
from gcrm.data.completions import read_file
from gcrm.reporting.figures.style import CHANCE, COLOURS, MARKERS, drawing
from gcrm.steer import run
from gcrm.synthetic.problems import Problem, make_problems
from gcrm.utils.io import Row, read_jsonl, write_jsonl

FAMILY = "gsm8k"
PROBLEMS = {"pretrain": 30_000, "preference": 800, "dev": 100, "test": 200}
RARE_WORDS = {"pretrain": 0.003}
"""share of rare words; elsewhere a half, so that the language model errs"""
OPENINGS = ("now we work out", "next we see that", "so then we get")
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
SAMPLES = 6
EXAMPLES = 20
"""of an attribute, as in the paper"""
ATTRIBUTES: dict[str, Callable[[Row], float]] = {
    "correctness": lambda row: float(row["is_correct"]),
    "words": lambda row: len(row["generated_solution"].split()),
    "checks": lambda row: row["generated_solution"].split().count("check"),
}
MEASURES = {"correctness": "correctness", "words": "words", "checks": "count:check"}
"""what `gcrm steer` measures of each attribute"""
CHOSEN: Row = {"temperature": 1.0, "step_tokens": 12, "rho": 2.0}
"""the best of TRIED on the development problems of seed 0, by the contrastive reward model"""
TRIED: list[Row] = [
    *({"temperature": value} for value in (0.2, 0.6)),
    *({"step_tokens": value} for value in (6, 24)),
    *({"rho": value} for value in (0.5, 2.0)),
]
"""changes of the first setting: temperature 1, steps of 12 tokens, rho 1"""
FIRST: Row = {"temperature": 1.0, "step_tokens": 12, "rho": 1.0}
LONGEST = 90
"""most tokens of a solution"""
PRETRAIN = ["--steps", "1600", "--batch_size", "20", "--learning_rate", "0.002"]
TRAIN = [
    *("--train_batch_size", "32", "--micro_train_batch_size", "32", "--learning_rate", "0.001"),
    *("--max_epochs", "2", "--max_len", "256", "--logging_steps", "10"),
]
CONTRASTIVE, VANILLA = "contrastive", "vanilla"
REWARD_MODELS = {
    CONTRASTIVE: ["--reward_model_strategy", "contrastive", "--contrastive_loss_beta", "0.5"],
    VANILLA: ["--reward_model_strategy", "vanilla"],
}


def stage(name: str, *words: object) -> None:
    """Run a stage of gcrm; its log is on the terminal."""
    subprocess.run([sys.executable, "-m", f"gcrm.{name}", *map(str, words)], check=True)


def make_problem_sets(folder: Path, seed: int) -> None:
    """Write the sets of problems, the solutions of `pretrain` in styles of their own."""
    taken: set[str] = set()
    for name, count in PROBLEMS.items():
        rng = random.Random(f"{seed} {name}")
        problems = make_problems(FAMILY, count, rng, taken, RARE_WORDS.get(name, 0.5))
        write_jsonl(folder / f"{name}.jsonl", (styled(one, rng) for one in problems))


def styled(problem: Problem, rng: random.Random) -> Row:
    """The row of a problem, its solution in a style of its own."""
    return vars(problem) | {"solution": restyle(problem.solution, rng)}


def restyle(solution: str, rng: random.Random, checked: float = 0.5, wordy: float = 0.5) -> str:
    """A solution in a style drawn for each of its steps: what a program can tell apart.

    A step may begin with some words that add nothing, and may be followed by a check with the
    inverse operation:

        now we work out 12 + 9 = 21 . check 21 - 9 = 12 . 21 * 2 = 42 . answer 42

    A language model that has read such solutions writes all mixtures.

    Args:
        checked: share of the steps that are checked, 0 to 1.
        wordy: share of the steps that begin with words, 0 to 1.
    """
    *steps, answer = solution.split(" . ")
    words = []
    for step in steps:
        opening = [rng.choice(OPENINGS)] if rng.random() < wordy else []
        checks = [check_of(step)] if rng.random() < checked else []
        words += [*opening, f"{step} .", *checks]
    return " ".join([*words, answer])


def check_of(step: str) -> str:
    """The check of a step `12 + 9 = 21`: `check 21 - 9 = 12 .`"""
    left, operation, right, _, result = step.split()
    return f"check {result} {INVERSE[operation]} {right} = {left} ."


def make_pairs(samples: list[Row], seed: int) -> list[Row]:
    """For each problem and attribute, two solutions are drawn; they are a pair if they differ."""
    by_question: dict[str, list[Row]] = {}
    for row in samples:
        by_question.setdefault(row["question"], []).append(row)
    pairs = []
    for question, rows in by_question.items():
        rng = random.Random(f"{seed} {question}")
        for value in ATTRIBUTES.values():
            first, second = rng.sample(rows, 2)
            values = [value(row) for row in (first, second)]
            if values[0] == values[1]:
                continue
            better, worse = (first, second) if values[0] > values[1] else (second, first)
            texts = {"correct": better, "incorrect": worse}
            pairs.append(
                {"question": question}
                | {key: row["generated_solution"] for key, row in texts.items()}
            )
    return pairs


def make_examples(samples: list[Row], seed: int) -> list[Row]:
    """For each attribute, EXAMPLES solutions of different problems among its best.

    A row has 1 in the column of its attribute, and 0 in the others.
    """
    rng = random.Random(f"{seed} examples")
    examples: list[Row] = []
    used: set[str] = set()
    for name, value in ATTRIBUTES.items():
        rows = rng.sample(samples, len(samples))
        rows.sort(key=value, reverse=True)
        count = 0
        for row in rows:
            if row["question"] in used or count == EXAMPLES:
                continue
            used.add(row["question"])
            count += 1
            columns = {other: float(other == name) for other in ATTRIBUTES}
            prompt = {"prompt": row["question"], "response": row["generated_solution"]}
            examples.append(prompt | columns)
    return examples


def make_world(folder: Path, seed: int) -> None:
    """Make what is not there yet: problems, language model, pairs, reward models, goal states."""
    problems, model = folder / "problems", folder / "model"
    if not (problems / "test.jsonl").exists():
        make_problem_sets(problems, seed)
    if not model.exists():
        words = ["--problems", problems / "pretrain.jsonl", "--data_seed", seed]
        stage("pretrain", *words, "--save_path", model, *PRETRAIN)
    drawn = folder / "samples"
    if not drawn.exists():
        words = ["--model", model, "--problems", problems / "preference.jsonl"]
        words += ["--num_samples", SAMPLES, "--max_new_tokens", LONGEST, "--data_seed", seed]
        stage("sample", *words, "--save_dir", drawn)
    rows = [row for k in range(SAMPLES) for row in read_file(drawn / f"output-rs{k}.jsonl")]
    samples = [row for row in rows if row["generated_solution"]]  # `train` refuses empty ones
    for name, strategy in REWARD_MODELS.items():
        reward_model, goal_states = folder / "reward_models" / name, folder / "goal_states" / name
        if not reward_model.exists():
            write_jsonl(folder / "pairs.jsonl", make_pairs(samples, seed))
            words = ["--pretrain", model, "--dataset", folder / "pairs.jsonl", "--seed", seed]
            stage("train", *words, "--save_path", reward_model, *TRAIN, *strategy)
        if not goal_states.exists():
            write_jsonl(folder / "examples.jsonl", make_examples(samples, seed))
            words = ["--dataset_path", folder / "examples.jsonl", "--attributes", *ATTRIBUTES]
            words += ["--reward_model_path", reward_model, "--save_dir", goal_states]
            stage("represent", *words)


def steer(folder: Path, problems: str, name: str, reward_model: str, setting: Row) -> Path:
    """What `gcrm steer` does on a set of problems; the folder with its tables."""
    save_dir = folder / problems / name
    if not save_dir.exists():
        options = SteerOptions(
            model=str(folder / "model"),
            reward_model_path=str(folder / "reward_models" / reward_model),
            goal_state_path=folder / "goal_states" / reward_model,
            attribute=list(ATTRIBUTES),
            problems=folder / "problems" / f"{problems}.jsonl",
            save_dir=save_dir,
            measures=list(MEASURES.values()),
            max_new_tokens=LONGEST,
            batch_size=256,
            **setting,
        )
        run(options)
    return save_dir


def try_settings(folder: Path) -> None:
    """Write dev.csv: what the paper's search does with each setting that was tried.

    For each attribute the win rate, and the values of plain sampling and of the search, since a
    baseline at another temperature is another baseline.
    """
    rows = []
    changes: list[Row] = [{}, *TRIED]
    for change in changes:
        setting: Row = FIRST | change
        name = "-".join(f"{key}{value}" for key, value in setting.items())
        made = steer(folder, "dev", name, CONTRASTIVE, setting | {"methods": ["guided"]})
        records = pd.read_csv(made / "results.csv").to_dict("records")
        found = {(row["method"], row["measure"]): row for row in records}
        row = setting.copy()
        for attribute, measure in MEASURES.items():
            guided = found[f"guided-{attribute}", measure]
            row[f"{attribute} sampling"] = found["sampling", measure]["value"]
            row[f"{attribute} guided"] = guided["value"]
            row[f"{attribute} win rate"] = guided["win_rate"]
        row["mean win rate"] = sum(row[f"{name} win rate"] for name in ATTRIBUTES) / len(ATTRIBUTES)
        rows.append(row)
    table = pd.DataFrame(rows).round(3)
    table.to_csv(folder / "dev.csv", index=False)
    print(table.to_string(index=False))


def results_of(folder: Path, seed: int) -> dict[str, pd.DataFrame]:
    """The tables of a seed: results and costs of both reward models, and what these are like.

    Methods without a reward model are searched once, beside the contrastive one.
    """
    tables: dict[str, list[pd.DataFrame]] = {"results": [], "costs": [], "models": []}
    for name in REWARD_MODELS:
        methods = [one for one in METHODS if name == CONTRASTIVE or one != "likelihood-beam"]
        made = steer(folder, "test", name, name, CHOSEN | {"methods": methods, "seed": seed})
        for kind in ("results", "costs"):
            table = pd.read_csv(made / f"{kind}.csv").assign(seed=seed, reward_model=name)
            if name != CONTRASTIVE:  # its plain samples are the same
                table = table[table.method != "sampling"]
            tables[kind].append(table)
        tables["models"].append(pd.DataFrame([facts(folder, name)]).assign(seed=seed))
    found = {kind: pd.concat(each) for kind, each in tables.items()}
    for table in (found["results"], found["costs"]):
        table.loc[table.method.isin(["sampling", "likelihood-beam"]), "reward_model"] = ""
    return found


def facts(folder: Path, name: str) -> Row:
    """What a reward model is like: pairs, its last training loss, cosines of its goal states."""
    log = read_jsonl(folder / "reward_models" / name / "training_log.jsonl")
    states = {
        one: np.load(folder / "goal_states" / name / f"goal_state-{one}.npy").ravel()
        for one in ATTRIBUTES
    }
    unit = {one: state / np.linalg.norm(state) for one, state in states.items()}
    cosines = {
        f"cosine {one} {other}": float(unit[one] @ unit[other])
        for one, other in itertools.combinations(ATTRIBUTES, 2)
    }
    losses = {key: value for key, value in log[-1].items() if "loss" in key}
    pairs = len(read_jsonl(folder / "pairs.jsonl"))
    return {"reward_model": name, "pairs": pairs} | losses | cosines


def over_seeds(found: pd.DataFrame) -> pd.DataFrame:
    """Of each reward model, method and measure the mean over seeds, and the range of the seeds.

    The range of one seed is its 95 % interval over problems.
    """
    if found.seed.nunique() == 1:
        low, high = "win_rate_low", "win_rate_high"
    else:
        low = high = "win_rate"
    keys = ["reward_model", "method", "attribute", "measure"]
    groups = found.fillna({"attribute": ""}).groupby(keys, sort=False)
    table = groups.agg(
        seeds=("seed", "nunique"),
        value=("value", "mean"),
        win_rate=("win_rate", "mean"),
        lowest=(low, "min"),
        highest=(high, "max"),
    )
    return table.reset_index()


def draw(found: pd.DataFrame, stem: Path) -> None:
    """The win rates by the measure of each attribute, of the methods that are not for another.

    A symbol is the mean over seeds, a line goes from the lowest to the highest of them.
    """
    several = "mean, lowest and highest of the seeds"
    shown = several if found.seeds.max() > 1 else "one seed, 95 % intervals over problems"
    heading = f"Win rate over plain sampling: {shown}"
    with drawing(stem, heading, (6.5, 2.4)) as figure:
        panels = figure.subplots(1, len(ATTRIBUTES), sharex=True, sharey=True)
        for axes, attribute in zip(panels, ATTRIBUTES, strict=True):
            own = found[(found.measure == MEASURES[attribute]) & found.win_rate.notna()]
            own = own[own.attribute.isin(["", attribute])]
            names = [name.removesuffix(f"-{attribute}") for name in own.method]
            places = {name: -place for place, name in enumerate(dict.fromkeys(names))}
            for look, (name, rows) in enumerate(own.groupby("reward_model", sort=False)):
                offset = {VANILLA: -0.18, CONTRASTIVE: 0.18}.get(str(name), 0)
                axes.errorbar(
                    rows.win_rate,
                    [places[one.removesuffix(f"-{attribute}")] + offset for one in rows.method],
                    xerr=(rows.win_rate - rows.lowest, rows.highest - rows.win_rate),
                    fmt=MARKERS[look],
                    color=COLOURS[look],
                    label=name or "none",
                )
            axes.set_yticks([*places.values()], [*places])
            axes.axvline(0.5, **CHANCE)
            axes.set_title(attribute)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, title="reward model", loc="outside right center", alignment="left"
        )


def main() -> None:
    """Make the worlds, and steer in them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="for all that is made")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="each makes a world of its own"
    )
    parser.add_argument(
        "--dev", action="store_true", help="try settings on the dev problems of the first seed"
    )
    given = parser.parse_args()
    tables: dict[str, list[pd.DataFrame]] = {"results": [], "costs": [], "models": []}
    for seed in given.seeds:
        folder = given.folder / f"seed{seed}"
        make_world(folder, seed)
        if given.dev:
            try_settings(folder)
            return
        for kind, table in results_of(folder, seed).items():
            tables[kind].append(table)
            whole = pd.concat(tables[kind])
            first = [key for key in ("seed", "reward_model", "method") if key in whole]
            whole = whole[[*first, *whole.columns.drop(first)]].round(4)
            whole.to_csv(given.folder / f"{kind}.csv", index=False)
    summary = over_seeds(pd.concat(tables["results"]))
    summary.round(4).to_csv(given.folder / "win_rates.csv", index=False)
    draw(summary, given.folder / "win_rates")


if __name__ == "__main__":
    main()
