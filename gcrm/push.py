"""Command `push`: uploads a reward model to the hub, with a model card that has its results."""

import json
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from pandas import DataFrame, concat

from gcrm.cli import run_stage, show
from gcrm.config.layout import FACTS
from gcrm.config.push import PushOptions
from gcrm.lineage.provenance import beside, read_provenance, sha256
from gcrm.reporting.formats import markdown
from gcrm.stats.estimates import read_estimates
from gcrm.training.model_card import public_name
from gcrm.utils.errors import UserError
from gcrm.utils.io import read_json
from gcrm.utils.logging import say

CARD = "README.md"
NO_RESULTS = r"_minus_|\.length$|\.longer$"
"""metrics that say nothing of the model alone: differences, and the baselines"""
NEEDED = (CARD, FACTS, "config.json", "model.safetensors", "tokenizer.json")
KEPT = (*NEEDED, "tokenizer_config.json", "chat_template.jinja", "training_log.jsonl")
"""what is uploaded: provenance holds paths of this machine, and checkpoints are of no use"""


def run(options: PushOptions) -> None:
    """Upload a folder that `train` wrote, or show what would be uploaded.

    Raises:
        UserError: the folder is not whole, a file of metrics cannot be read, or the hub refuses.
    """
    folder = options.reward_model_path
    files = _files(options)
    for name, content in files.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        say(f"push: {name}: {size:,} bytes")
    left_out = sorted(path.name for path in folder.iterdir() if path.name not in files)
    say(f"push: not uploaded: {', '.join(left_out) or 'nothing'}")
    if options.dry_run:
        show(_card(options))
    else:
        _upload(files, options)


def _files(options: PushOptions) -> dict[str, Path | bytes]:
    """What is uploaded: name, and file or content."""
    folder = options.reward_model_path
    if missing := [name for name in NEEDED if not (folder / name).is_file()]:
        raise UserError(f"{folder}: has no {missing[0]}; expected a folder that `train` wrote")
    facts = read_json(folder / FACTS, "train")
    facts["base_model"] = public_name(facts["base_model"])
    made = {FACTS: f"{json.dumps(facts, indent=1)}\n".encode(), CARD: _card(options).encode()}
    return {name: folder / name for name in KEPT if (folder / name).is_file()} | made


def _card(options: PushOptions) -> str:
    card = (options.reward_model_path / CARD).read_text(encoding="utf-8")
    if not options.metrics:
        return card
    for path in options.metrics:
        _check_model(path, options.reward_model_path)
    estimates = concat(map(read_estimates, options.metrics), ignore_index=True)
    return _with_results(card, options.repo.rpartition("/")[2], estimates)


def _with_results(card: str, name: str, estimates: DataFrame) -> str:
    """A card with results: in its front matter, and as a table at its end.

    Args:
        name: of the model on the hub.
        estimates: rows of metrics files. Points of curves, differences and baselines are left out.

    Raises:
        UserError: none is left.
    """
    shown = estimates[
        estimates["at"].isna()
        & estimates["low"].notna()
        & ~estimates["metric"].str.contains(NO_RESULTS)
    ]
    if shown.empty:
        raise UserError("the files of metrics have no estimate with an interval to show")
    rows = [{str(key): value for key, value in row.items()} for row in shown.to_dict("records")]
    full = ModelCard(card)
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="reward modeling",
            dataset_type=row["benchmark"],
            dataset_name=row["benchmark"],
            dataset_split=row["split"],
            metric_type=row["metric"],
            metric_name=f"{row['metric']} (95 % interval {row['low']:.3f} to {row['high']:.3f})",
            metric_value=round(row["value"], 4),
        )
        for row in rows
    ]
    known = vars(full.data) | {"model_name": name, "eval_results": results}
    full.data = ModelCardData(**known)
    columns = {
        **{name: shown[name] for name in ("benchmark", "split", "metric")},
        "value": shown["value"].map("{:.3f}".format),
        "95 % interval": [f"{row['low']:.3f} to {row['high']:.3f}" for row in rows],
        "n": shown["n"].astype(str),
    }
    return f"{full}\n## Results\n\n{markdown(DataFrame(columns), texts=3)}\n"


def _check_model(metrics: Path, model: Path) -> None:
    """Check by their provenance that metrics are of scores of this model.

    Raises:
        UserError: they are of another model, or there is no provenance of their scores.
    """
    of_metrics = read_provenance(beside(metrics)) or {"inputs": {}}
    of_scores = [read_provenance(beside(Path(name))) for name in of_metrics["inputs"]]
    inputs = [digest for facts in of_scores if facts for digest in facts["inputs"].values()]
    if not inputs:
        raise UserError(
            f"{metrics}: the provenance of its scores is not there, so they may be of any model; "
            "give the file where `metrics` wrote it, from the same working directory"
        )
    if sha256(model) not in inputs:
        raise UserError(f"{metrics}: is of scores of another model than {model}")


def _upload(files: dict[str, Path | bytes], options: PushOptions) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        api.create_repo(options.repo, private=not options.public, exist_ok=True)
        done = api.create_commit(
            options.repo,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="Upload a reward model trained by gcrm",
        )
    except Exception as error:  # the hub's client and its transport raise their own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{options.repo}: cannot be uploaded: {reason}") from None
    say(f"push: {done.commit_url}")


if __name__ == "__main__":
    raise SystemExit(run_stage(PushOptions, run))
