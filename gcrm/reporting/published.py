"""Published results of the same base model, shown next to the results of a run.

They are rows of a JSON lines file (workflow/published.jsonl), each with its source: a number for
one benchmark, or a claim in words ("up to …").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pandas import DataFrame
from pydantic import ValidationError, model_validator

from gcrm.config.base import Settings, explain
from gcrm.utils.errors import UserError
from gcrm.utils.io import numbered_rows

if TYPE_CHECKING:
    from gcrm.reporting.columns import Column


class PublishedNumber(Settings):
    """A published number or claim."""

    base_model: str
    """hub id of the language model that the reward model is based on"""
    source: str
    """paper and table, or section"""
    claim: str | None = None
    """a claim in words, if it is not a number for one benchmark"""
    model: str = ""
    """name of the reward model in the source"""
    benchmark: str = ""
    """the benchmark"""
    measure: str = ""
    """`auroc`, `pairwise accuracy` (of all couples of samples, or of held-out pairs), or a column
    of the table of votes as the authors count, such as `majority`"""
    value: float | None = None
    """the number; shares are between 0 and 1"""

    @model_validator(mode="after")
    def _number_or_claim(self) -> "PublishedNumber":
        number = self.model and self.benchmark and self.measure and self.value is not None
        if bool(number) == (self.claim is not None):
            raise ValueError("give claim, or model, benchmark, measure and value")
        return self


@dataclass(frozen=True)
class Published:
    """The published results for the base model of a run."""

    numbers: Sequence[PublishedNumber] = ()

    def cells(self, columns: Sequence["Column"], benchmarks: Sequence[str]) -> DataFrame:
        """The numbers of these columns and benchmarks, as estimates of a separate variant.

        Each has `published_in`, and the `title` and `text` of its cell, with the published digits.
        """
        rows = [
            {
                "variant": f"{number.model} (published)",
                "benchmark": number.benchmark,
                "metric": column.metric,
                "value": number.value,
                "published_in": number.source,
                "title": column.title,
                "text": f"{(100 if column.percent else 1) * number.value:g}",
            }
            for number in self.numbers
            for column in columns
            if number.value is not None
            and number.measure == (column.measure or column.title)
            and number.benchmark in benchmarks
        ]
        names = ["variant", "benchmark", "metric", "value", "published_in", "title", "text"]
        return DataFrame(rows, columns=names)

    def claims(self) -> list[str]:
        """The claims in words, each with its source."""
        return [f"{each.claim} ({each.source})" for each in self.numbers if each.claim]

    def sources(self) -> list[str]:
        """The sources of the numbers, without duplicates."""
        return list(dict.fromkeys(each.source for each in self.numbers if each.claim is None))


def read_published(path: Path | None, base_model: str | None) -> Published:
    """The results for this base model; none without a file or a base model.

    Raises:
        UserError: the file is missing, or a row is neither a number nor a claim.
    """
    if path is None or base_model is None:
        return Published()
    numbers = []
    for line, row in numbered_rows(path):
        try:
            numbers.append(PublishedNumber(**row))
        except ValidationError as error:
            raise UserError(explain(error, f"{path}, line {line}", PublishedNumber)) from None
    # The base model is a hub id, or a folder with the model's name.
    name = Path(base_model).name
    return Published([number for number in numbers if Path(number.base_model).name == name])
