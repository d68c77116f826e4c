"""What is there more than once: keys, columns, names."""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)


def repeated(values: Iterable[Value]) -> list[Value]:
    """The values that are there more than once, each once, in their order."""
    return [value for value, count in Counter(values).items() if count > 1]
