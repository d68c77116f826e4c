"""Where a number stands in a metrics file: ("auroc", "reward") in `auroc: {reward: …}`."""

from collections.abc import Iterator, Mapping
from typing import Any

Place = tuple[str, ...]


def leaves(part: Mapping[str, Any], above: Place = ()) -> Iterator[tuple[Place, Any]]:
    """What the sections of a file hold, by its place: estimates (with a `value`) and all else."""
    for key, inner in part.items():
        if isinstance(inner, Mapping) and "value" not in inner:
            yield from leaves(inner, (*above, key))
        else:
            yield (*above, key), inner


def estimates(part: Mapping[str, Any]) -> dict[Place, Mapping[str, Any]]:
    """The estimates alone."""
    return {place: leaf for place, leaf in leaves(part) if isinstance(leaf, Mapping)}
