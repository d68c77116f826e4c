"""RewardBench scores preference data with a checkpoint: does it agree with `gcrm evaluate`?

    python -m venv .clients/rewardbench
    .clients/rewardbench/bin/pip install -r benchmarks/clients/rewardbench.txt
    python -m benchmarks.clients.reward_bench

Both read one file in RewardBench's layout: a prompt, and whole dialogues as chosen and rejected.
"""

import json
import os

from benchmarks.clients.setting import arguments, checkpoint, compare, gcrm, make_pairs, run
from gcrm.data.scores import read_scores
from gcrm.utils.io import Row, read_jsonl, write_jsonl

ON_CPU = """
import torch, transformers
from rewardbench.rewardbench import main
if not torch.cuda.is_available():
    move = transformers.BatchEncoding.to
    transformers.BatchEncoding.to = lambda self, device: move(self, "cpu")
main()
"""
"""RewardBench moves its inputs to "cuda" by name; where there is none, the CPU is meant"""
FLAGS = ("--load_json", "--not_quantized", "--torch_dtype=float32", "--output_dir=rewardbench/")


def main() -> int:
    """Score with both, and compare; the exit status."""
    given = arguments(__doc__, python=".clients/rewardbench/bin/python")
    model = (given.reward_model_path or checkpoint(given.work_dir)).resolve()
    data, scores = given.work_dir / "rewardbench.jsonl", given.work_dir / "rewardbench.parquet"
    write_jsonl(data, map(as_dialogues, make_pairs()))
    gcrm(
        "evaluate",
        *("--reward_model_path", model, "--dataset", data, "--vanilla", "--output", scores),
    )
    table = read_scores(scores)
    program = os.path.abspath(given.python)  # not resolved: a venv is known by its link
    link = given.work_dir / "rewardbench_model"  # RewardBench writes beside an absolute path
    link.unlink(missing_ok=True)
    link.symlink_to(model)
    words = [program, "-c", ON_CPU, f"--model={link.name}", f"--dataset={data.name}", *FLAGS]
    run(words, cwd=given.work_dir, environment={"HF_HUB_OFFLINE": "1"})
    folder = given.work_dir / "rewardbench"
    rows = read_jsonl(folder / f"{link.name}_outputs.jsonl")
    theirs = [row[f"scores_{side}"] for row in rows for side in ("chosen", "rejected")]
    theirs = [one[0] if isinstance(one, list) else one for one in theirs]
    accuracy = json.loads((folder / f"{link.name}.json").read_text())["accuracy"]
    chosen, rejected = table.reward[::2], table.reward[1::2]
    ours = float((chosen > rejected).mean())
    status = compare("RewardBench", table.reward.tolist(), theirs)
    print(f"accuracy {ours:.6f} by gcrm, {accuracy:.6f} by RewardBench")
    return status or int(abs(ours - accuracy) > 1e-9)


def as_dialogues(pair: Row) -> Row:
    """A pair in the layout that RewardBench documents."""
    user = {"role": "user", "content": pair["prompt"]}
    sides = {
        side: [user, {"role": "assistant", "content": pair[side]}]
        for side in ("chosen", "rejected")
    }
    return {"prompt": pair["prompt"], **sides}


if __name__ == "__main__":
    raise SystemExit(main())
