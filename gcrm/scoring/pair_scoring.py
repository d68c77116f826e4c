"""From held-out preference data to the scores of both sides of each pair."""

from pathlib import Path

from gcrm.config.evaluate import EvaluateOptions
from gcrm.data.pair_scores import write_pair_scores
from gcrm.data.preferences import Preference, read_heldout
from gcrm.lineage.provenance import beside, write_provenance
from gcrm.modeling.reward_model import Scores
from gcrm.modeling.tokenization import Encoded, Encoder, PromptTooLong
from gcrm.scoring.completions import check_place, say_truncated, scores_path
from gcrm.scoring.scorer import Scorer
from gcrm.utils.errors import UserError
from gcrm.utils.logging import say
from gcrm.utils.paths import set_name


def score_heldout(options: EvaluateOptions) -> None:
    """Score the pairs of each of `options.dataset`.

    Raises:
        UserError: a source cannot be read or has a broken row (all are read before the first is
            scored), or none of its prompts leaves room for an answer.
    """
    work = [
        (source, read_heldout([source], max_pairs=options.max_pairs)) for source in options.dataset
    ]
    for source, _ in work:
        check_place(options, scores_path(options, set_name(source), "pairs"))
    with Scorer(options) as scorer:
        for source, pairs in work:
            kept, encoded = _encode(pairs, scorer.reward_model.encoder, source)
            path = scores_path(options, set_name(source), "pairs")
            scores = scorer.score(encoded, set_name(source), path)
            if scorer.processes.first:
                _write(options, source, path, kept, scores, left_out=len(pairs) - len(kept))


def _write(
    options: EvaluateOptions,
    source: str,
    path: Path,
    pairs: list[Preference],
    scores: Scores,
    left_out: int,
) -> None:
    columns = {name: values for name, values in vars(scores).items() if values is not None}
    write_pair_scores(path, pairs, columns, left_out)
    write_provenance(
        beside(path),
        options,
        [*options.model_sources, source],
        [path],
        pairs=len(pairs),
        pairs_left_out=left_out,
    )
    if options.output is None:
        say(f"evaluate: wrote {path}")


def _encode(
    pairs: list[Preference], encoder: Encoder, source: str
) -> tuple[list[Preference], list[Encoded]]:
    """The pairs whose prompts leave room for an answer, and their sides: chosen, rejected, …"""
    kept: list[Preference] = []
    encoded: list[Encoded] = []
    for pair in pairs:
        try:
            sides = encoder.encode_many([(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)])
        except PromptTooLong:
            continue
        kept.append(pair)
        encoded += sides
    if not kept:
        raise UserError(
            f"{source}: no prompt leaves room for an answer in max_len = {encoder.max_len} tokens"
        )
    if left_out := len(pairs) - len(kept):
        say(
            f"evaluate {source}: {left_out} of {len(pairs)} pairs left out: their prompts leave "
            f"no room for an answer in {encoder.max_len} tokens"
        )
    say_truncated(encoded, encoder, source)
    return kept, encoded
