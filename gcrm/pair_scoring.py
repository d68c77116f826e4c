"""From held-out preference data to the scores of both sides of each pair."""

from gcrm.disk import check_writable
from gcrm.encoding import Encoded, Encoder, PromptTooLong
from gcrm.errors import UserError
from gcrm.pair_scores import write_pair_scores
from gcrm.preferences import Preference, read_heldout
from gcrm.processes import join
from gcrm.progress import Progress, say
from gcrm.provenance import write_provenance
from gcrm.scoring import load, model_name, say_truncated, scores_path
from gcrm.settings.evaluate import EvaluateOptions
from gcrm.sources import set_name


def score_heldout(options: EvaluateOptions) -> None:
    """Score the pairs of each of `options.dataset`.

    Raises:
        UserError: a source cannot be read or has a broken row (all are read before the first is
            scored), or none of its prompts leaves room for an answer.
    """
    work = [
        (source, read_heldout([source], max_pairs=options.max_pairs)) for source in options.dataset
    ]
    processes = join()
    reward_model = load(options)
    for source, pairs in work:
        kept, encoded = _encode(pairs, reward_model.encoder, source)
        path = scores_path(options, set_name(source), "pairs")
        check_writable(path.parent)
        progress = Progress(
            f"evaluate {model_name(options)} {set_name(source)}", len(encoded), "completion"
        )
        scores = reward_model.score_encoded(
            encoded, options.tokens_per_batch, progress.advance, processes
        )
        if not processes.first:
            continue
        columns = {name: values for name, values in vars(scores).items() if values is not None}
        left_out = len(pairs) - len(kept)
        write_pair_scores(path, kept, columns, left_out)
        write_provenance(
            path.with_name("provenance.json"),
            options,
            [*options.model_sources, source],
            [path],
            pairs=len(kept),
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
