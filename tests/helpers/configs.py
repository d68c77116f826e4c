"""Configs of runs that bring or fetch their data; nothing of it exists."""

from typing import Any

OWN: dict[str, Any] = {
    "run": "own",
    "benchmarks": ["gsm8k", "simuleq"],
    "base_model": "owner/model",
    "preferences": "owner/pairs",
    "completions": "completions",
    "variants": {"vanilla": None},
}


FILES = [{"url": "https://example.org/a.zip"}]


FETCHED: dict[str, Any] = OWN | {
    "preferences": ["download:pairs", "mine.jsonl"],
    "completions": "download:predictions",
    "heldout": {"held": "download:test"},
    "downloads": {
        "pairs": {"format": "pairs", "files": FILES},
        "other": {"format": "solutions", "files": FILES},
        "test": {"format": "pairs", "files": FILES},
        "predictions": {"format": "completions", "files": FILES, "samples": {"gsm8k": 2}},
    },
}
