"""How time and memory of the stages grow with the work.

    make bench-growth
    python -m benchmarks.growth [folder] [largest]

Each stage runs as a command of its own, with one thread; times are those of the processor, which
other work on the machine lengthens little. Completions are 50 samples a problem; the model has 4
layers of 128 and random weights, so that scoring is fast and other costs show. Score tables hold
300 tokens a completion. A dry run plans the jobs of a grid of variants, five seeds and seven
benchmarks. Writes growth.jsonl and growth.png to the folder (default: docs). There are at most
100,000 completions, or `largest`.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.meter import ROOT, metered
from benchmarks.metrics import write_made_scores
from gcrm.utils.io import write_jsonl

VARIANTS = (1, 6, 12, 24)
SAMPLES = 50
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
Row = dict[str, Any]


def main() -> None:
    """Measure, print, draw."""
    folder, largest = [*sys.argv[1:], *("docs", "100000")[len(sys.argv) - 1 :]]
    sizes = [int(largest) // part for part in (100, 10, 1)]
    print(f"{'':12}{'size':>9}{'seconds':>10}{'GiB':>8}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        rows = [*of_model(place, sizes), *of_scores(place, sizes), *of_grids(place)]
    write_jsonl(Path(folder) / "growth.jsonl", rows)
    draw(rows, Path(folder) / "growth.png")


def of_model(folder: Path, sizes: Sequence[int]) -> Iterator[Row]:
    """Training on a fifth as many pairs, and scoring of completions."""
    base, model, goal = folder / "base", folder / "model", folder / "goal_state.npy"
    make_models(base, model)
    np.save(goal, np.ones(128, np.float32))
    for size in (completions // 5 for completions in sizes):
        pairs = folder / f"pairs{size}.jsonl"
        write_jsonl(pairs, (pair(number) for number in range(size)))
        words = ["--pretrain", base, "--dataset", pairs, "--save_path", folder / f"trained{size}"]
        words += ["--train_batch_size", 32, "--micro_train_batch_size", 32]
        yield measured("train", size, "-m", "gcrm.train", *words)
    for size in sizes:
        completions = folder / f"completions{size}"
        for sample in range(SAMPLES):
            rows = (solution(number, sample) for number in range(size // SAMPLES))
            (completions / "math").mkdir(parents=True, exist_ok=True)
            write_jsonl(completions / "math" / f"output-rs{sample}.jsonl", rows)
        words = ["--reward_model_path", model, "--goal_state_path", goal]
        words += ["--completions_data_path", completions]
        words += ["--benchmarks", "math", "--splits", "all", "--output"]
        words += [folder / f"scores{size}.parquet"]
        yield measured("evaluate", size, "-m", "gcrm.evaluate", *words)


def of_scores(folder: Path, sizes: Sequence[int]) -> Iterator[Row]:
    """Metrics of a model, and the comparison of two."""
    for size in sizes:
        greedy, sampled = [], []
        for number, variant in enumerate(("vanilla", "contrastive")):
            scores = folder / f"made{size}" / variant / "seed0" / "math"
            greedy.append(scores / "greedy/scores.parquet")
            sampled.append(scores / "all/scores.parquet")
            write_made_scores(greedy[-1], size // SAMPLES, 1, number)
            write_made_scores(sampled[-1], size // SAMPLES, SAMPLES, number)
        words = ["--output", folder / "metrics.json", "--scores"]
        one = [*words, greedy[0], "--sample_scores", sampled[0]]
        yield measured("metrics", size, "-m", "gcrm.metrics", *one)
        both = [*words, *greedy, "--sample_scores", *sampled]
        yield measured("compare", size, "-m", "gcrm.compare", *both)


def of_grids(folder: Path) -> Iterator[Row]:
    """Dry runs of the default run with more variants and seeds."""
    settings = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    for number in VARIANTS:
        variants = {
            f"v{variant}": {"contrastive_loss_beta": 0.1 + variant} | CONTRASTIVE
            for variant in range(number)
        }
        config = folder / f"grid{number}.yaml"
        config.write_text(yaml.safe_dump(settings | {"variants": variants, "seeds": [*range(5)]}))
        words = ["-m", "snakemake", "-n", "--cores", 2, "--snakefile", ROOT / "workflow/Snakefile"]
        words += ["--workflow-profile", ROOT / "workflow/profiles/default"]
        words += ["--directory", folder, "--configfile", config]
        yield measured("dry run", None, *words)


CONTRASTIVE = {"reward_model_strategy": "contrastive"}


def measured(stage: str, size: int | None, *words: object) -> Row:
    """Run a command, and tell its seconds of processor time and its most memory.

    Args:
        size: of the work; of a dry run it is the number of jobs that it prints.
    """
    used = metered(*words, env=ONE_THREAD)
    if size is None:
        size = int(re.findall(r"^total +(\d+)", used.text, re.M)[0])
    seconds, gib = round(used.processor, 2), round(used.gib, 3)
    print(f"{stage:12}{size:9}{seconds:10.1f}{gib:8.2f}", flush=True)
    return {"stage": stage, "size": size, "seconds": seconds, "gib": gib}


def make_models(base: Path, reward_model: Path) -> None:
    """A small base model with random weights, and a reward model on it."""
    from gcrm.modeling.loading import new_reward_model
    from gcrm.synthetic.language_model import make_model, make_tokenizer

    tokenizer = make_tokenizer([*pair(0).values(), *map(str, range(100))])
    make_model(tokenizer, layers=4, hidden_size=128, heads=4, seed=0).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model, its_tokenizer = new_reward_model(str(base), "sdpa", seed=0)
    model.save_pretrained(reward_model)
    its_tokenizer.save_pretrained(reward_model)


def question(number: int) -> str:
    """A question of some 20 tokens, another one for each number."""
    counts = " and ".join(str(number // 100**place % 100) for place in range(4))
    return f"tom has {counts} apples . how many apples does tom have ?"


def pair(number: int) -> Row:
    """A preference pair."""
    a, b = number % 49, number // 49 % 49
    steps = f"{a} + {b} = {a + b} . "
    return {
        "question": question(number),
        "correct": 3 * steps + f"answer {a + b}",
        "incorrect": 2 * steps + f"answer {a + b + 1}",
    }


def solution(number: int, sample: int) -> Row:
    """A labelled solution of some 20 tokens."""
    a, b = number % 49, sample % 49
    text = (2 + number % 3) * f"{a} + {b} = {a + b} . " + f"answer {a + b}"
    return {
        "question": question(number),
        "generated_solution": text,
        "predicted_answer": str(a + b),
        "expected_answer": str(2 * a),
        "is_correct": a == b,
    }


def draw(rows: list[Row], path: Path) -> None:
    """Seconds and memory of each stage against the size of its work, both axes logarithmic."""
    from matplotlib.ticker import NullFormatter

    from gcrm.reporting.figures.style import looks, panels

    stages = list(dict.fromkeys(row["stage"] for row in rows))
    names = [f"{stage}: {UNITS[stage]}" for stage in stages]
    heading = "Processor time and memory of the stages against the size of their work"
    labels = "", "seconds, GiB"
    with panels(path.with_suffix(""), heading, names, 5, "y", labels=labels) as cells:
        for axes, stage in zip(cells, stages, strict=True):
            own = [row for row in rows if row["stage"] == stage]
            for look, (name, label) in zip(
                looks(["seconds", "gib"]).values(),
                (("seconds", "seconds"), ("gib", "GiB at most")),
                strict=True,
            ):
                axes.loglog(
                    [row["size"] for row in own],
                    [row[name] for row in own],
                    color=look.colour,
                    linestyle=look.dashes,
                    marker=look.marker,
                    label=label,
                )
            axes.xaxis.set_minor_formatter(NullFormatter())  # they overlap in a narrow panel
    path.with_suffix(".svg").unlink()


UNITS = {
    "train": "pairs",
    "evaluate": "completions",
    "metrics": "completions",
    "compare": "completions",
    "dry run": "jobs",
}

if __name__ == "__main__":
    main()
