"""What the clients share: made questions, a small trained checkpoint, the comparison of rewards.

The checkpoint is one of `gcrm train`, of the shape that most real ones have: a Llama whose rotary
base is not the default, a byte-level BPE that puts BOS first, and a chat template that ends the
assistant's turn with EOS. It has learnt from few pairs, so that its rewards differ.
"""

import argparse
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gcrm.synthetic.problems import make_problems
from gcrm.utils.io import Row, write_jsonl

MARKS = ["<|pad|>", "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|{{ message['role'] }}|>\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TOLERANCE = 1e-4
"""largest difference of two fp32 rewards of the same tokens: kernels sum in other orders"""


def arguments(description: str | None, **defaults: str) -> argparse.Namespace:
    """The command line of a client: a checkpoint, a folder for files, and the client's program.

    Args:
        description: docstring of the script.
        defaults: further options with their defaults.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work_dir", type=Path, default=Path("results/clients"))
    parser.add_argument("--reward_model_path", type=Path, help="default: a small one is trained")
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default)
    return parser.parse_args()


def make_pairs(count: int = 64) -> list[Row]:
    """Made questions with a correct and an incorrect solution, the same at every call."""
    problems = make_problems("gsm8k", count, random.Random(0), set())
    rows = []
    for number, problem in enumerate(problems):
        wrong = str((int(problem.expected_answer) + 1 + number % 5) % 61)
        lead = problem.solution.rpartition(" ")[0]
        rows.append(
            {"prompt": problem.question, "chosen": problem.solution, "rejected": f"{lead} {wrong}"}
        )
    return rows


def checkpoint(folder: Path) -> Path:
    """A reward model that `gcrm train` has made in `folder`; made once."""
    model = folder / "reward_model"
    if (model / "config.json").is_file():
        return model
    pairs = make_pairs()
    base = make_base(folder / "base_model", pairs)
    write_jsonl(folder / "pairs.jsonl", pairs)
    gcrm(
        "train",
        *("--pretrain", base, "--dataset", folder / "pairs.jsonl", "--save_path", model),
        *("--max_len", 256, "--learning_rate", 1e-3, "--max_epochs", 3, "--train_batch_size", 16),
    )
    return model


def make_base(folder: Path, pairs: Sequence[Row]) -> Path:
    """A Llama of two layers with random weights, and its tokenizer."""
    tokenizer = make_tokenizer([text for row in pairs for text in row.values()])
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,  # 32 wide: vLLM's kernels on CPUs take no narrower ones
            num_key_value_heads=1,
            max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE as Llama 3's, which puts BOS first."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=512, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False
        ),
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<|bos|> $A", pair="<|bos|> $A $B", special_tokens=[("<|bos|>", 1)]
    )
    names = dict(zip(("pad_token", "bos_token", "eos_token"), MARKS, strict=False))
    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=TEMPLATE, **names)


def gcrm(stage: str, *words: object) -> None:
    """Run a stage of gcrm, as its command line does."""
    run([sys.executable, "-m", f"gcrm.{stage}", *map(str, words)])


def run(
    words: Sequence[str], cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Show a command, run it, and end with its output if it fails.

    Args:
        environment: further variables.
    """
    print("$", shlex.join(words), flush=True)
    done = subprocess.run(
        words,
        cwd=cwd,
        env=os.environ | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}{done.stderr[-3000:]}\nexit status {done.returncode}")


def compare(client: str, ours: Sequence[float], theirs: Sequence[float], show: int = 4) -> int:
    """Print rewards side by side with the largest difference; the exit status, 1 if they differ."""
    worst = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    print(f"\n{'reward by gcrm':>16}{'by ' + client:>24}{'difference':>14}")
    for one, other in list(zip(ours, theirs, strict=True))[:show]:
        print(f"{one:16.6f}{other:24.6f}{other - one:14.1e}")
    spread = max(ours) - min(ours)
    print(f"{len(ours)} rewards between {min(ours):.3f} and {max(ours):.3f}")
    print(f"largest difference {worst:.1e}")
    if not worst <= TOLERANCE or not spread > 100 * TOLERANCE:
        print(f"they are not equal within {TOLERANCE:g}")
        return 1
    return 0
