"""The stage `generate`: samples by several methods, and what each costs and is worth."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from gcrm.config.generate import GenerateOptions, Method
from gcrm.config.layout import discard_samples
from gcrm.data.questions import first_by_hash, question_key
from gcrm.decoding.client import ServedGenerator
from gcrm.decoding.comparison import Comparison, label
from gcrm.decoding.completions import CompletionServer
from gcrm.decoding.live import Generator, Plan, Solved, parameters_per_token
from gcrm.decoding.rules import Rule
from gcrm.lineage.provenance import FILE, write_provenance
from gcrm.lineage.resume import Unfinished
from gcrm.modeling.loading import (
    language_model_without_weights,
    load_generator,
    load_tokenizer,
    use_chat_template,
)
from gcrm.modeling.reward_model import RewardModel
from gcrm.stats.estimates import estimates_frame, write_estimates
from gcrm.stats.generation import Sizes
from gcrm.utils.disk import check_writable
from gcrm.utils.errors import UserError
from gcrm.utils.io import Row, numbered_rows, write_jsonl
from gcrm.utils.logging import Progress, say
from gcrm.utils.paths import short_name

ESTIMATES = "estimates.json"
NOT_OF_SAMPLES = {"save_dir", "server_url", "server_parallel", "server_timeout"}
"""options on which no sample depends"""
Generates = Generator | ServedGenerator


def generate(options: GenerateOptions) -> None:
    """Generate samples by the methods of the options, and write what they cost and are worth.

    Raises:
        UserError: problems or models cannot be read, or a prompt is too long.
    """
    problems = read_problems(options.problems, options.max_problems)
    check_writable(options.save_dir)
    questions = [problem["question"] for problem in problems]
    generator, reward_model = _models(options, questions[0])
    runs = Runs(options, generator, reward_model, questions)
    sizes = Sizes(generator.parameters, parameters_per_token(reward_model.model))
    comparison = Comparison(options, problems, sizes)
    found: dict[Method, list[Solved]] = {}
    for method in sorted(options.methods, key=lambda name: name != "plain"):
        rules = comparison.rules(method, found.get("plain"))
        found[method] = runs.solve(method, rules)
    rows = [options.place | {"split": "generate"} | row for row in comparison.rows(found)]
    made = [options.save_dir / ESTIMATES]
    write_estimates(made[0], estimates_frame(rows))
    for method, solved in found.items():
        made += _write(options.save_dir / method, problems, solved, options.num_samples)
    seconds = {method: _seconds(solved) for method, solved in found.items()}
    write_provenance(
        options.save_dir / FILE, options, options.sources, made, seconds_of_models=seconds
    )
    for method, spent in seconds.items():
        told = " + ".join(f"{value:.1f} s {name}" for name, value in spent.items())
        say(f"generate {short_name(options.save_dir)}: {method}: {told}")
    runs.discard()


def read_problems(path: Path, most: int | None) -> list[Row]:
    """The problems of a file, each with question and, all of them or none, expected_answer.

    Args:
        most: cap on the problems, chosen by hash of the question.

    Raises:
        UserError: the file cannot be read, or a row is no problem.
    """
    problems: list[Row] = []
    for number, row in numbered_rows(path):
        where = f"{path}, row {number}"
        if not isinstance(row.get("question"), str) or not row["question"].strip():
            raise UserError(f"{where}: question must be text")
        answer = row.get("expected_answer")
        if answer is not None and not isinstance(answer, str | int | float):
            raise UserError(f"{where}: expected_answer must be text or a number")
        if problems and (answer is None) != (problems[0]["expected_answer"] is None):
            raise UserError(
                f"{where}: {'lacks' if answer is None else 'has'} an expected_answer, unlike the "
                "rows before; give one for all problems, or for none"
            )
        problems.append(
            {
                "question": row["question"],
                "expected_answer": None if answer is None else str(answer),
            }
        )
    first = {question_key(row["question"]): row for row in reversed(problems)}
    if twice := len(problems) - len(first):
        say(f"generate: {path}: {twice} of {len(problems)} rows left out: their question repeats")
    kept = first_by_hash((row["question"] for row in problems), most)
    return [row for key, row in reversed(first.items()) if key in kept]


def _models(options: GenerateOptions, first: str) -> tuple[Generates, RewardModel]:
    """What generates, and the reward model.

    Args:
        first: a question; a server shows by it that it generates, before models are loaded here.
    """
    plan = Plan(
        samples=options.num_samples,
        temperature=options.temperature,
        max_new_tokens=options.max_new_tokens,
        check_every=options.check_every,
        skip=options.skip_tokens,
        seed=options.seed,
        batch_size=options.batch_size,
    )
    generator: Generates
    if options.server_url is None:
        model, tokenizer = load_generator(
            options.model, options.chat_template, options.trust_remote_code
        )
        generator = Generator(model, tokenizer, plan)
    else:
        generator = _served(options, options.server_url, plan, first)
    reward_model = RewardModel.from_pretrained(
        **options.loading, goal_state=options.goal_state_path
    )
    if isinstance(generator, Generator):
        module: torch.nn.Module = generator.model  # whose `to` is typed
        module.to(reward_model.model.device)
    return generator, reward_model


def _served(options: GenerateOptions, url: str, plan: Plan, first: str) -> ServedGenerator:
    """A server's language model, which has answered."""
    tokenizer = load_tokenizer(options.model, options.trust_remote_code)
    use_chat_template(tokenizer, options.chat_template)
    server = CompletionServer(
        url,
        options.server_model or options.model,
        parallel=options.server_parallel,
        timeout=options.server_timeout,
    )
    generator = ServedGenerator(server, tokenizer, plan)
    generator.try_out(first)
    try:
        model = language_model_without_weights(options.model, options.trust_remote_code)
    except UserError as error:
        say(f"generate: {error}; so the FLOPs of the server's model are unknown, and left out")
    else:
        generator.parameters = parameters_per_token(model)
    return generator


class Runs:
    """Runs of all methods over the problems, each from where an interrupted one stopped."""

    def __init__(
        self,
        options: GenerateOptions,
        generator: Generates,
        reward_model: RewardModel,
        questions: Sequence[str],
    ):
        self._generator, self._reward_model = generator, reward_model
        self._questions = questions
        self._name = f"generate {short_name(options.save_dir)}"
        self._batches = generator.batches(questions)
        # Plain samples are read only for a comparison, whose costs leave that out.
        self._reads_plain = len(options.methods) > 1
        self._unfinished = Unfinished(
            options.save_dir,
            "generate",
            options.model_dump(mode="json", exclude=NOT_OF_SAMPLES),
            options.sources,
            *reward_model.numerics,
        )

    def solve(self, method: Method, rules: Sequence[Rule | None]) -> list[Solved]:
        """The samples of all problems by a method, in the order of the problems."""
        found: dict[int, Solved] = {}
        for arrays in self._unfinished.read(f"{method}-*"):
            saved = json.loads(arrays["json"].tobytes())
            found |= {int(row): Solved.from_json(one) for row, one in saved.items()}
        progress = Progress(f"{self._name}: {method}", len(self._questions) - len(found), "problem")
        reads = method != "plain" or self._reads_plain
        pending: list[int] = []
        try:
            for batch in self._batches:
                if left := [row for row in batch if row not in found]:
                    solved = self._generator.solve(
                        [self._questions[row] for row in left],
                        self._reward_model if reads else None,
                        [rules[row] for row in left],
                    )
                    found |= dict(zip(left, solved, strict=True))
                    pending += left
                    progress.advance(len(left))
                if self._unfinished.is_due:
                    self._save(method, pending, found)
                    pending = []
        finally:  # a server may fail in the middle
            self._save(method, pending, found)
        return [found[row] for row in range(len(self._questions))]

    def _save(self, method: Method, rows: Sequence[int], found: Mapping[int, Solved]) -> None:
        if rows:
            text = json.dumps({row: asdict(found[row]) for row in rows})
            array = np.frombuffer(text.encode(), np.uint8)
            self._unfinished.write(f"{method}-{rows[0]}", {"json": array})

    def discard(self) -> None:
        """Remove what was kept for a resume."""
        self._unfinished.discard()


def _write(
    folder: Path, problems: Sequence[Row], found: Sequence[Solved], samples: int
) -> list[Path]:
    """Write the samples that were kept, and the votes; returns the files."""
    labelled = [label(problem, solved) for problem, solved in zip(problems, found, strict=True)]
    discard_samples(folder, 0)
    made = []
    for k in range(samples):
        both = zip(labelled, found, strict=True)
        rows = [row[k] for row, solved in both if not solved.samples[k].dropped]
        if rows:  # `evaluate` refuses an empty file
            made.append(folder / f"output-rs{k}.jsonl")
            write_jsonl(made[-1], rows)
    made.append(folder / "votes.jsonl")
    write_jsonl(made[-1], map(_votes, problems, labelled, found))
    return made


def _votes(problem: Row, rows: Sequence[Row], solved: Solved) -> Row:
    """The vote on a problem, and what its samples cost."""
    kept = [row for row, sample in zip(rows, solved.samples, strict=True) if not sample.dropped]
    answers = [row["predicted_answer"] for row in kept if row["predicted_answer"] is not None]
    counts = Counter(answers).most_common()
    rewards = solved.rewards
    best = int(np.argmax(rewards)) if np.isfinite(rewards).any() else None
    return {
        **{key: value for key, value in problem.items() if value is not None},
        "answer": counts[0][0] if counts else None,
        "votes": dict(counts),
        "best_answer": None if best is None else rows[best]["predicted_answer"],
        "samples_begun": len(rows),
        "samples_kept": len(kept),
        "generated_tokens": sum(sample.generated for sample in solved.samples),
        "policy_tokens": solved.prompt_tokens[0] + int(solved.policy_tokens.sum()),
        "reward_model_tokens": solved.prompt_tokens[1] + int(solved.reward_model_tokens.sum()),
    }


def _seconds(found: Sequence[Solved]) -> dict[str, float]:
    """Seconds that each model took."""
    policy, reward_model = np.sum([solved.seconds for solved in found], axis=0).tolist()
    return {"policy": round(policy, 2), "reward_model": round(reward_model, 2)}
