"""The commands of docs/commands.md find what those before them have made."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from helpers.models import save_base_model, save_reward_model
from helpers.rows import write_rows
from helpers.stage_world import run
from helpers.training import write_pairs

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
BENCHMARKS = "gsm8k math gsm-hard mawps asdiv algebra222 svamp".split()
SMALL = {
    "train": "--pretrain base_model --no_bf16 --no_flash_attn --zero_stage 0 --max_len 64",
    "metrics": "--bootstrap_resamples 10",
    "goals": "--examples 1 2",
    "steer": "--step_tokens 3 --max_new_tokens 6 --bootstrap_resamples 10",
    "generate": "--max_new_tokens 6 --check_every 3 --bootstrap_resamples 10",
}
"""what the commands are given beside: a tiny base model, and less to do"""
ELSEWHERE = re.compile("results/tiny|--server_url")
"""of commands that need a whole run, or a server"""


def commands() -> list[tuple[str, list[str]]]:
    """Stage and words of the commands in the order of the page."""
    blocks = re.findall(r"^```bash\n(.+?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.split(line)[1:] for line in lines if line.startswith("gcrm ")]
    kept = [words for words in found if not ELSEWHERE.search(" ".join(words))]
    known = ("represent", "evaluate", *SMALL)
    return [(stage, words) for stage, *words in kept if stage in known]


def test_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base_model", "policy"):
        base = save_base_model(Path(name))
    save_reward_model(Path("another_reward_model"), base)
    write_pairs(Path("pairs.jsonl"), 12)
    write_pairs(Path("heldout.jsonl"), 4, wrong=5)
    Path("goal_states").mkdir()
    np.save("goal_states/goal_state-helpfulness.npy", np.ones(32))
    problems = [
        {"question": f"tom has {i} apples . how many ?", "expected_answer": str(i)}
        for i in range(4)
    ]
    for file in ("problems.jsonl", "labelled.jsonl"):
        write_rows(Path(file), *problems)
    for benchmark in BENCHMARKS:
        for name in ("greedy", "rs0"):
            rows = [
                one | {"generated_solution": f"answer {i}", "is_correct": i % 2 == 0}
                for i, one in enumerate(problems)
            ]
            write_rows(Path(f"completions/{benchmark}/output-{name}.jsonl"), *rows)
    found = commands()
    assert {stage for stage, _ in found} == {"represent", "evaluate", *SMALL}
    for stage, words in found:
        assert run(stage, [*words, *SMALL.get(stage, "").split()]) == 0, (stage, words)
