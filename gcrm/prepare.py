"""Stage `prepare`: makes the problems of a synthetic run, or downloads and checks real data.

A JSON report has sizes, accuracies, and questions shared by training and evaluation data; shared
questions also cause a warning on the terminal.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gcrm.cli import run_stage
from gcrm.config.layout import Split, completion_files
from gcrm.config.prepare import PrepareOptions
from gcrm.data.completions import read_completions
from gcrm.data.conversions import fetch_data
from gcrm.data.preferences import iter_preferences
from gcrm.data.report import report_on_data, report_on_made, warn_of_shared
from gcrm.data.sources import HELDOUT_SPLITS, TRAINING_SPLITS
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.synthetic.problems import make_sets
from gcrm.utils.errors import UserError
from gcrm.utils.io import write_json, write_jsonl
from gcrm.utils.logging import say
from gcrm.utils.paths import is_local

if TYPE_CHECKING:  # torch is imported late
    from gcrm.modeling.tokenization import Encoder


def run(options: PrepareOptions) -> None:
    """Make the problem sets, or download and check data; write the report if requested."""
    facts: dict[str, Any]
    if options.problems_dir is not None:
        sets = make_sets(options)
        files = [options.problems_dir / f"{name}.jsonl" for name in sets]
        for file, rows in zip(files, sets.values(), strict=True):
            write_jsonl(file, rows)
        say(f"prepare: made {sum(map(len, sets.values()))} problems in {len(sets)} sets")
        write_provenance(options.problems_dir / "provenance.json", options, outputs=files)
        facts = {"inputs": [*files, *options.heldout], "outputs": []}
        report = report_on_made(sets, options.benchmarks, options.heldout)
    else:
        downloaded = fetch_data(options)
        report = report_on_data(
            options.dataset, options.completions_data_path, options.benchmarks, options.heldout
        )
        _check_with_base_model(options)
        facts = _sources(options)
        if downloaded:
            report["downloads"] = facts["downloads"] = downloaded
    warn_of_shared(report)
    if options.report is not None:
        write_json(options.report, report)
        facts["outputs"].insert(0, options.report)
        write_provenance(beside(options.report), options, **facts)


def _check_with_base_model(options: PrepareOptions) -> None:
    """Check that the base model's tokenizer takes the data: before the training, not in it.

    Raises:
        UserError: the chat template does not take a dialogue, a question is too long, or a local
            base model has no tokenizer.
    """
    if options.base_model is None:
        return
    from gcrm.modeling.loading import load_tokenizer, use_chat_template
    from gcrm.modeling.tokenization import Encoder

    try:
        tokenizer = load_tokenizer(options.base_model)
    except UserError as error:
        if is_local(options.base_model):
            raise
        say(f"prepare: chat template and lengths of questions are not checked: {error}")
        return
    use_chat_template(tokenizer, options.chat_template)
    encoder = Encoder(tokenizer, options.max_len)
    for source in dict.fromkeys([*options.dataset, *options.heldout]):
        splits = TRAINING_SPLITS if source in options.dataset else HELDOUT_SPLITS
        for pair in iter_preferences(source, splits):
            if not isinstance(pair.prompt, str):
                encoder.check_prompt(pair.prompt, pair.where)
    if options.completions_data_path is not None:
        _check_prompt_lengths(options, encoder, options.completions_data_path)


def _check_prompt_lengths(options: PrepareOptions, encoder: "Encoder", folder: Path) -> None:
    """Check that every question leaves room for a solution in max_len tokens of the base model.

    Raises:
        UserError: a question is too long.
    """
    found = []
    for name in options.benchmarks:
        questions = {
            row["question"]
            for split in get_args(Split)
            if split == "greedy" or completion_files(folder, name, split)
            for row in read_completions(folder, name, split, options.max_problems)
        }
        lengths = [len(encoder.prompt_ids(question)) for question in questions]
        if long := sum(length >= options.max_len for length in lengths):
            found.append(f"{name}: {long} of {len(lengths)}, the longest of {max(lengths)}")
    if found:
        raise UserError(
            f"evaluate.max_len = {options.max_len} tokens leaves some questions no room for a "
            f"solution ({'; '.join(found)}): raise it if the model's context is longer, or remove "
            "their rows from the files"
        )


def _sources(options: PrepareOptions) -> dict[str, Any]:
    """Inputs (given files) and outputs (files made from downloads), for the provenance."""
    formats = {download.format for download in options.downloads.values()}
    files: dict[str, list[Path | str]] = {"inputs": [], "outputs": []}
    for source in [*options.dataset, *options.heldout]:
        made = Path(source).parent == options.preferences_dir
        files["outputs" if made else "inputs"].append(Path(source) if made else source)
    if options.completions_data_path is not None:
        files["outputs" if "completions" in formats else "inputs"] += [
            file
            for name in options.benchmarks
            for split in get_args(Split)
            for file in completion_files(options.completions_data_path, name, split)
        ]
    return dict(files)


if __name__ == "__main__":
    raise SystemExit(run_stage(PrepareOptions, run))
