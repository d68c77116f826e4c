"""Breakages of files, models and configs: tables of what a user may give by mistake."""

import gzip
import json
import random
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Breakage = bytes | Callable[[Path], None]
"""the new content of a file, or what is done to it"""


def remove(path: Path) -> None:
    path.unlink()


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


TEXTS: dict[str, Breakage] = {
    "missing": remove,
    "folder": folder_instead,
    "empty": b"",
    "blank": b"\n \n\t\n",
    "binary": bytes(range(256)) * 4,
    "gzip": gzip.compress(b'{"question": "a"}\n'),
    "zip": b"PK\x03\x04rest",
    "zstd": b"\x28\xb5\x2f\xfdrest",
    "utf-16": '{"question": "a"}\n'.encode("utf-16"),
    "latin-1": '{"question": "é"}\n'.encode("latin-1"),
    "cut off": b'{"question": "a", "expected_ans',
    "list": b'[{"question": "a"}]\n',
    "lists": b"[1]\n[2]\n",
    "number": b"3\n",
    "text": b'"a"\n',
    "null": b"null\n",
    "python": b"{'question': 'a'}\n",
    "csv": b"question,correct\n1,2\n",
    "comma": b'{"question": "a"},\n{"question": "b"}\n',
    "two in a line": b'{"question": "a"} {"question": "b"}\n',
    "twice": b'{"question": "a", "question": "b"}\n',
    "half a surrogate": b'{"question": "\\ud83d", "correct": "a", "incorrect": "b"}\n',
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "html": b"<!doctype html><html>\n",
    "nul": b'{"question": "a\0"}\n',
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "no keys": b"{}\n",
    "other keys": b'{"a": 1, "b": "c"}\n',
    "constant": b'{"question": Infinity, "correct": NaN}\n',
    "merge conflict": b'<<<<<<< HEAD\n{"question": "a"}\n=======\n',
}


NO_TEXT: list[Any] = [..., None, 5, True, ["a"], {"a": 1}, "", " \n"]
VALUES: dict[str, dict[str, list[Any]]] = {
    "pairs.jsonl": dict.fromkeys(("question", "correct", "incorrect"), NO_TEXT),
    "problems.jsonl": {"question": NO_TEXT, "expected_answer": [["a"]]},
    "completions/b/output-greedy.jsonl": {
        "question": NO_TEXT[:6],
        "generated_solution": NO_TEXT[:6],
        "is_correct": [..., None, 2, "yes", "true", [True], {}, 0.5],
    },
    "log.jsonl": {
        "doc": [..., None, 3, {}, []],
        "resps": [..., None, [], [[]], "text", [[3]]],
        "arguments": [..., None, 3, {}],
        "target": [..., None, ""],
        "exact_match": [..., None, "yes", 0.5],
    },
}


def with_row(path: Path, number: int, change: Mapping[str, Any]) -> bytes:
    """The rows of a file, one of them with other values; `...` removes a key."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[number] |= change
    kept = [{key: value for key, value in row.items() if value is not ...} for row in rows]
    return "".join(json.dumps(row) + "\n" for row in kept).encode()


def edited(path: Path, **changes: Any) -> str:
    """The text of a JSON file with other values; `...` removes a key."""
    content = json.loads(path.read_text()) | changes
    return json.dumps({key: value for key, value in content.items() if value is not ...})


def of_model(name: str, content: Breakage | None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            content(folder / name)

    return change


def config(**changes: Any) -> Callable[[Path], None]:
    return of_model("config.json", lambda path: path.write_text(edited(path, **changes)) and None)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Other bytes in the header."""
    content = bytearray(path.read_bytes())
    content[20:60] = bytes(40)
    path.write_bytes(content)


def empty_folder(path: Path) -> None:
    subprocess.run(["rm", "-r", path], check=True)
    path.mkdir()


def file_instead(path: Path) -> None:
    subprocess.run(["rm", "-r", path], check=True)
    path.write_text("no folder")


MODELS: dict[str, Callable[[Path], None]] = {
    "empty folder": empty_folder,
    "file": file_instead,
    "no weights": of_model("model.safetensors", None),
    "empty weights": of_model("model.safetensors", b""),
    "weights cut off": of_model("model.safetensors", cut),
    "weights with another header": of_model("model.safetensors", flip),
    "weights of noise": of_model("model.safetensors", random.Random(0).randbytes(5000)),
    "weights of text": of_model("model.safetensors", b"version https://git-lfs.github.com/spec/v1"),
    "a huge header": of_model("model.safetensors", b"\xff" * 8 + b"{}"),
    "no config": of_model("config.json", None),
    "empty config": of_model("config.json", b""),
    "config of noise": of_model("config.json", bytes(range(200))),
    "config is a list": of_model("config.json", b"[]"),
    "config without a type": config(model_type=...),
    "config of an unknown type": config(model_type="nope"),
    "config of another width": config(hidden_size=64),
    "config of no layers": config(num_hidden_layers="two"),
    "config with more layers": config(num_hidden_layers=3),
    "config of another vocabulary": config(vocab_size=7),
    "no tokenizer": of_model("tokenizer.json", None),
    "empty tokenizer": of_model("tokenizer.json", b""),
    "tokenizer without keys": of_model("tokenizer.json", b"{}"),
    "tokenizer of noise": of_model("tokenizer.json", bytes(range(200))),
    "tokenizer cut off": of_model("tokenizer.json", cut),
}


def array(made: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, made, allow_pickle=True)


ONES = np.ones((1, 32), np.float32)
GOAL_STATES: dict[str, Breakage] = {
    "missing": remove,
    "folder": folder_instead,
    "empty": b"",
    "text": b"0.1 0.2\n",
    "cut off": cut,
    "header alone": b"\x93NUMPY\x01\x00",
    "pickled": array(np.array([{"a": 1}], dtype=object)),
    "texts": array(np.full((1, 32), "a")),
    "NaN": array(np.full((1, 32), np.nan, np.float32)),
    "infinite": array(np.full((1, 32), np.inf, np.float32)),
    "narrow": array(ONES[:, :31]),
    "three axes": array(ONES[None]),
    "number": array(np.float32(1)),
    "nothing": array(np.empty((1, 0), np.float32)),
    "complex": array(ONES.astype(complex)),
    "zeros": array(ONES * 0),
}


def column(name: str, change: Callable[[list[Any]], Any] | None) -> Callable[[Path], None]:
    """Another content of a column, or none."""

    def rewrite(path: Path) -> None:
        table = pq.read_table(path)
        columns = table.to_pydict()
        columns[name] = columns[name] if change is None else change(columns[name])
        if change is None:
            del columns[name]
        made = pa.table(columns).replace_schema_metadata(table.schema.metadata)
        pq.write_table(made, path)

    return rewrite


def no_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(0, 0), path)


SCORES: dict[str, Breakage] = {
    "missing": remove,
    "folder": folder_instead,
    "empty": b"",
    "text": b"PAR1 no table PAR1",
    "cut off": cut,
    "no rows": no_rows,
    "no reward": column("reward", None),
    "no label": column("label", None),
    "no prompt": column("prompt", None),
    "no sample": column("sample", None),
    "rewards of text": column("reward", lambda rows: ["a"] * len(rows)),
    "a missing reward": column("reward", lambda rows: [None, *rows[1:]]),
    "NaN": column("reward", lambda rows: [float("nan"), *rows[1:]]),
    "labels of text": column("label", lambda rows: ["yes"] * len(rows)),
    "short partial rewards": column("partial_rewards", lambda rows: [[], *rows[1:]]),
    "partial rewards of text": column("partial_rewards", lambda rows: [["a"]] * len(rows)),
    "a negative length": column("num_tokens", lambda rows: [-1, *rows[1:]]),
    "prompts of numbers": column("prompt", lambda rows: list(range(len(rows)))),
}


ESTIMATES: dict[str, Breakage] = {
    "missing": remove,
    "folder": folder_instead,
    "empty": b"",
    "noise": bytes(range(200)),
    "list": b"[]",
    "number": b"3",
    "object": b"{}",
    "cut off": cut,
    "rows of texts": b'["a"]',
    "rows without metrics": b'[{"variant": "a"}]',
    "deep": b"[" * 100_000,
    "value of text": b'[{"variant": "a", "seed": 0, "benchmark": "b", "metric": "auroc.reward", '
    b'"value": "high"}]',
}


CONFIGS: dict[str, bytes] = {
    "empty": b"",
    "noise": bytes(range(256)),
    "utf-16": "run: r".encode("utf-16"),
    "list": b"- run: r\n",
    "text": b"just text\n",
    "null": b"null\n",
    "open bracket": b"run: [1\n",
    "tab": b"run: r\n\tseeds: [1]\n",
    "control": b'run: "\x01"\n',
    "no key": b"? [a]\n: b\n",
    "number as a key": b"1: 2\n",
    "on as a key": b"on: 2\n",
    "twice": b"run: r\nrun: s\n",
    "two documents": b"run: r\n---\nrun: s\n",
    "no such alias": b"run: *r\n",
    "an alias of itself": b"run: &a [*a]\n",
    "a tag of python": b"run: !!python/object/apply:os.getcwd []\n",
    "an unknown tag": b"run: !mine r\n",
    "no date": b"run: 2020-13-45\n",
    "a broken date": b"run: !!timestamp nope\n",
    "no number": b"run: !!int abc\n",
    "no set": b"run: !!set 3\n",
    "merging a number": b"<<: 3\n",
    "another YAML": b"%YAML 9.9\n---\nrun: r\n",
    "deep": b"run: " + b"[" * 5000,
    "deep mapping": b'{"run": ' * 5000,
    "a template": b"__use_yte__: true\nrun: ?nope\n",
}
SETTINGS: list[tuple[str, Any]] = [
    ("run", ""),
    ("run", "../out"),
    ("run", 3.5),
    ("run", None),
    ("run", "a" * 500),
    ("seeds", []),
    ("seeds", [-1]),
    ("seeds", [0, 0]),
    ("seeds", "0"),
    ("seeds", [2**32]),
    ("benchmarks", "gsm8k"),
    ("benchmarks", ["gsm8k", "gsm8k"]),
    ("benchmarks", ["nope"]),
    ("benchmarks", [None]),
    ("benchmark", ["gsm8k"]),
    ("variants", {}),
    ("variants", None),
    ("variants", ["vanilla"]),
    ("variants", {"a/b": {}}),
    ("variants", {"vanilla": {"contrastive_loss_beta": 1}}),
    ("variants", {"vanilla": 3}),
    ("train", {"learning_rate": -1}),
    ("train", {"learning_rate": ".inf"}),
    ("train", {"train_batch_size": 0}),
    ("train", {"train_batch_size": 7, "micro_train_batch_size": 4}),
    ("train", {"lr": 1}),
    ("pretrain", None),
    ("pretrain", {"hidden_size": 65, "heads": 2}),
    ("sample", {"num_samples": {"nope": 3}}),
    ("sample", {"num_samples": {"preference": 1}}),
    ("prepare", {"preference_families": ["nope"]}),
    ("base_model", "/nowhere/at/all{x}"),
    ("base_model", "${NOT_SET_ANYWHERE}/m"),
    ("heldout", {"gsm8k": "x.jsonl"}),
    ("metrics", {"bootstrap_resamples": 0}),
    ("metrics", {"filter_threshold": "high"}),
    ("goals", {"examples": [0]}),
    ("generate", {"benchmarks": ["nope"]}),
    ("policies", {"p": {}}),
    ("policies", {"p": {"method": "ppo"}}),
    ("policy", {"steps": 3}),
    ("threads", {"pretrain": 0}),
    ("threads", {"nope": 1}),
    ("gpus", {"train": -1}),
    ("downloads", {"x": {}}),
    ("dataset_probs", [1.0]),
    ("chat_template", "t.jinja"),
    ("report", {"in_distribution": ["nope"]}),
    ("compare", {"baseline": "nope"}),
    ("cost", {"pairs": -1}),
]
