"""lm-eval and lighteval log a small model's solutions: does `gcrm convert` read what they counted?

    python -m venv .clients/evaluation
    .clients/evaluation/bin/pip install -r benchmarks/clients/evaluation.txt
    python -m benchmarks.clients.evaluation_logs

The model adds numbers, and errs now and then. The share of correct solutions that each tool reports
must be that of the converted files.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.clients.setting import arguments, gcrm, run
from gcrm.data.completions import read_completions
from gcrm.utils.io import write_jsonl

LM_EVAL_TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}\\n"
doc_to_target: "{{{{expected_answer}}}}"
generation_kwargs:
  until: ["?"]
  max_gen_toks: 16
  do_sample: {sampled}
  temperature: {temperature}
repeats: {repeats}
filter_list:
- name: answer
  filter:
  - {{function: regex, regex_pattern: "answer (-?[0-9]+)"}}
  - {{function: take_first}}
metric_list:
- {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
LIGHTEVAL_TASK = """
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

def prompt(line, task_name=None):
    return Doc(
        task_name=task_name,
        query=line["question"] + "\\n",
        choices=[" " + line["expected_answer"]],
        gold_index=0,
    )

TASKS_TABLE = [
    LightevalTaskConfig(
        name="adding",
        prompt_function=prompt,
        hf_repo="{folder}",
        hf_subset="default",
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
        generation_size=16,
        stop_sequence=["?"],
        metrics=[Metrics.expr_gold_metric],
    )
]
"""
SAMPLES = 2


def main() -> int:
    """Evaluate, convert and compare; the exit status."""
    given = arguments(__doc__, python=".clients/evaluation/bin/python")
    folder = given.work_dir.resolve() / "adding"
    model = make_policy(folder)
    python = str(Path(given.python).absolute())
    greedy, counted = lm_eval(python, folder, model, "greedy", 1)
    samples, _ = lm_eval(python, folder, model, "sampled", SAMPLES)
    gcrm(
        "convert",
        *("--greedy", greedy, "--samples", samples, "--answer_pattern", "answer (-?[0-9]+)"),
        *("--save_dir", folder / "completions" / "both"),
    )
    gcrm("convert", "--greedy", greedy, "--save_dir", folder / "completions" / "lm-eval")
    details, reported = lighteval(python, folder, model)
    gcrm("convert", "--greedy", details, "--save_dir", folder / "completions" / "lighteval")
    print(f"\n{'':24}{'reported':>12}{'converted':>12}")
    status = 0
    for name, tool in (("lm-eval", counted), ("both", counted), ("lighteval", reported)):
        rows = read_completions(folder / "completions", name, "greedy")
        ours = sum(row["is_correct"] for row in rows) / len(rows)
        print(f"{name:24}{tool:12.4f}{ours:12.4f}")
        status |= abs(tool - ours) > 1e-9
    drawn = read_completions(folder / "completions", "both", "all")
    print(f"{len(drawn)} sampled solutions, {sum(row['is_correct'] for row in drawn)} correct")
    return int(status or len(drawn) != SAMPLES * len(rows))


def make_policy(folder: Path) -> Path:
    """A model that has learnt to add, and a file of sums in `folder`/data."""
    rows = [
        {
            "question": f"what is {a} + {b} ?",
            "expected_answer": str(a + b),
            "solution": f"{a} + {b} = {a + b} . answer {a + b}",
        }
        for a in range(12)
        for b in range(12)
    ]
    write_jsonl(folder / "problems.jsonl", rows)
    write_jsonl(folder / "data" / "test.jsonl", rows[::6])
    model = folder / "model"
    if not (model / "config.json").is_file():
        gcrm(
            "pretrain",
            *("--problems", folder / "problems.jsonl", "--save_path", model),
            *("--steps", 200, "--layers", 2, "--hidden_size", 64),
        )
    return model


def lm_eval(python: str, folder: Path, model: Path, kind: str, repeats: int) -> tuple[Path, float]:
    """The log of an evaluation by lm-eval, and the share of correct solutions that it reports."""
    name, tasks, output = f"adding_{kind}", folder / f"lm-eval-{kind}", folder / f"logs-{kind}"
    tasks.mkdir(exist_ok=True)
    (tasks / f"{name}.yaml").write_text(
        LM_EVAL_TASK.format(
            name=name,
            data=folder / "data" / "test.jsonl",
            sampled=str(repeats > 1).lower(),
            temperature=float(repeats > 1),
            repeats=repeats,
        )
    )
    words = [python, "-m", "lm_eval", "run", "--model", "hf"]
    words += ["--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"]
    words += ["--tasks", name, "--include_path", str(tasks), "--batch_size", "8"]
    words += ["--output_path", str(output), "--log_samples"]
    run(words, environment=OFFLINE)
    log, results = (newest(output, pattern) for pattern in ("samples_*.jsonl", "results_*.json"))
    return log, json.loads(results.read_text())["results"][name]["exact_match,answer"]


def lighteval(python: str, folder: Path, model: Path) -> tuple[Path, float]:
    """The log of an evaluation by lighteval, and the share of correct solutions that it reports."""
    task, output = folder / "adding_task.py", folder / "logs-lighteval"
    task.write_text(LIGHTEVAL_TASK.format(folder=folder / "data"))
    # At its start it fetches a file of tinyBenchmarks, whatever the task, unless it is there.
    for tasks in Path(python).parents[1].glob("lib/*/site-packages/lighteval/tasks/tasks"):
        (tasks / "tinyBenchmarks.pkl").touch()
    words = [python, "-m", "lighteval", "accelerate"]
    words += [f"model_name={model},dtype=float32,device=cpu,batch_size=8", "adding|0"]
    words += ["--custom-tasks", str(task), "--output-dir", str(output), "--save-details"]
    run(words, environment=OFFLINE)
    details, results = (newest(output, one) for one in ("details_*.parquet", "results_*.json"))
    return details, json.loads(results.read_text())["results"]["adding|0"]["extractive_match"]


OFFLINE = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def newest(folder: Path, pattern: str) -> Path:
    """The newest file of a name below a folder."""
    found: Sequence[Path] = sorted(folder.rglob(pattern), key=lambda path: path.stat().st_mtime)
    return found[-1]


if __name__ == "__main__":
    raise SystemExit(main())
