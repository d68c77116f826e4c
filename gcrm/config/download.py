"""What a run may fetch from the web, and what it becomes: the config's section `downloads`."""

from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gcrm.config.base import Settings
from gcrm.config.types import Name

PREFIX = "download:"
"""`preferences: download:<name>` and `completions: download:<name>` name an entry of downloads"""


def _reachable(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        raise ValueError(f"is not an address: {error}") from None
    if not url.isascii():
        raise ValueError("has letters that an address cannot have; write them as %XX")
    return url


Url = Annotated[str, Field(pattern=r"^https?://[^\s/@]+/\S*[^\s/]$"), AfterValidator(_reachable)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RemoteFile(Settings):
    """A file of the web."""

    url: Url
    """address: https://… or http://…, without a password, since results record it"""
    size: int | None = Field(None, gt=0)
    """size in bytes, if known; a file of another size is refused"""
    sha256: Sha256 | None = None
    """SHA-256, if known; a file with another one is refused"""


class Download(Settings):
    """Files of the web, and how they become preference pairs or completions."""

    format: Literal["pairs", "solutions", "completions"]
    """pairs: rows of preference data, in .jsonl, .jsonl.gz or .parquet files, or in a .zip of such
    files or of a `datasets` folder; solutions: .jsonl of question,
    generated_solution, is_correct, from which pairs are made; completions: a .zip of
    <benchmark>/output-greedy.jsonl and output-rs<k>.jsonl"""
    files: list[RemoteFile] = Field(min_length=1)
    """the files to fetch"""
    split: Name = "train"
    """pairs: split to read, where a `datasets` folder has several"""
    folder: str = ""
    """folder in the .zip that has the data; nothing else is unpacked"""
    max_pairs_per_problem: int = Field(2, gt=0)
    """solutions: largest number of pairs of one question; no solution is in two of them"""
    samples: dict[Name, Annotated[int, Field(ge=0)]] = {}
    """completions: number of files output-rs<k>.jsonl of each benchmark that has any"""

    @model_validator(mode="after")
    def _only_what_the_format_uses(self) -> "Download":
        formats = {"split": "pairs", "max_pairs_per_problem": "solutions", "samples": "completions"}
        for key, only in formats.items():
            if key in self.model_fields_set and self.format != only:
                raise ValueError(f"{key} does nothing in the format {self.format}; remove it")
        if self.format == "completions" and len(self.files) != 1:
            raise ValueError("completions come from one .zip file")
        urls = [file.url for file in self.files]
        if again := next((url for url in urls if urls.count(url) > 1), None):
            raise ValueError(f"files has {again} twice; remove one")
        path = PurePosixPath(self.folder)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"folder must be a path inside the archive, not {self.folder!r}")
        return self


def download_name(source: str | None) -> str | None:
    """The entry of downloads that a source names, or None if it is a path or a hub id."""
    if source is None or not source.startswith(PREFIX):
        return None
    return source.removeprefix(PREFIX)
