"""Digests of inputs: of what counts, and of what is there now."""

import hashlib
from pathlib import Path

import pytest

from gcrm.lineage import provenance
from gcrm.lineage.provenance import sha256


def test_a_folder_is_the_same_without_its_card_and_provenance(tmp_path: Path) -> None:
    (tmp_path / "model" / "tokenizer").mkdir(parents=True)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model" / "tokenizer" / "vocab.json").write_bytes(b"{}")
    files = {"model.safetensors": b"weights", "tokenizer/vocab.json": b"{}"}
    lines = [f"{name} {hashlib.sha256(text).hexdigest()}\n" for name, text in files.items()]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert sha256(tmp_path / "model") == expected
    for name in ("README.md", "provenance.json", "scores.parquet.provenance.json"):
        (tmp_path / "model" / name).write_text("2026")
    assert sha256(tmp_path / "model") == expected
    (tmp_path / "model" / "model.safetensors").write_bytes(b"others")
    assert sha256(tmp_path / "model") != expected
    assert sha256(tmp_path / "nowhere") is None


def test_a_file_is_read_once_and_again_when_it_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(path: Path) -> str:
        read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(provenance, "file_sha256", counted)
    file, new = tmp_path / "model.safetensors", tmp_path / "new"
    file.write_bytes(b"first")
    assert sha256(file) == sha256(file) == hashlib.sha256(b"first").hexdigest()
    assert len(read) == 1
    new.write_bytes(b"other")
    new.replace(file)
    assert sha256(file) == hashlib.sha256(b"other").hexdigest()
