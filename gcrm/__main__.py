"""The command `gcrm`: `gcrm <stage> …` does the same as `python -m gcrm.<stage> …`."""

import difflib
import runpy
import sys
from importlib.metadata import version

STAGES = {
    "data": {
        "prepare": "make or fetch problems, preference pairs and completions",
        "pretrain": "train a small base model from scratch, for runs that make their own data",
        "convert": "write logs of lm-eval or lighteval as completions",
        "sample": "draw solutions to problems from a base model and label them",
        "pair": "make preference pairs from labelled solutions to the same problem",
    },
    "models and scores": {
        "train": "train a reward model on preference pairs",
        "represent": "average the hidden states of chosen completions: the goal state",
        "evaluate": "score completions or held-out preference pairs with a reward model",
        "goals": "filter samples by goal states of few, wrong or mixed examples",
        "steer": "guide a language model towards goal states while it writes",
        "policy": "train a language model against a reward model, or on pairs by DPO",
        "generate": "sample solutions, and end bad ones while they are generated",
    },
    "results": {
        "metrics": "AUROC, partial AUROC, votes and preference accuracy, with intervals",
        "compare": "paired differences between variants on the same completions",
        "policies": "accuracy of trained policies beside each other, with intervals",
        "track": "collect the final metrics of a run in one file and, on request, on wandb",
        "report": "tables, figures and a summary of a run",
    },
    "tools": {
        "trace": "show the data, options and code that a result comes from",
        "verify": "compare the results of a run with the published ones, bit for bit",
        "cost": "estimate operations, hours and disk space before a run",
        "export": "write scores in the format of the original code",
        "serve": "score over HTTP, for programs and in a page",
        "push": "upload a reward model to the Hugging Face hub, with its results",
        "gpus": "take GPUs for a command, waiting until enough are free",
    },
}
"""the stages in the order of the data flow, and what each one does"""


def main() -> int:
    """Run the stage that the command line names; its exit status, unless the stage exits itself."""
    stage, *words = sys.argv[1:] or ["--help"]
    names = [name for group in STAGES.values() for name in group]
    if stage in ("-h", "--help"):
        print(_help())
        return 0
    if stage == "--version":
        print("gcrm", version("gcrm"))
        return 0
    if stage not in names:
        close = difflib.get_close_matches(stage, names, n=1)
        hint = f"did you mean {close[0]}?" if close else "gcrm --help lists all stages"
        print(f"gcrm: error: unknown stage {stage!a}; {hint}", file=sys.stderr)
        return 1
    sys.argv[1:] = words
    runpy.run_module(f"gcrm.{stage}", run_name="__main__", alter_sys=True)
    return 0


def _help() -> str:
    lines = ["usage: gcrm STAGE [OPTIONS]   (the same as python -m gcrm.STAGE [OPTIONS])", ""]
    for group, stages in STAGES.items():
        lines += [f"{group}:", *(f"  {name:10} {text}" for name, text in stages.items()), ""]
    return "\n".join([*lines, "gcrm STAGE --help explains the options of a stage."])


if __name__ == "__main__":
    raise SystemExit(main())
