"""Where a number stands in a metrics file: ("auroc", "reward") in `auroc: {reward: …}`."""

from collections.abc import Iterator, Mapping
from typing import Any

Place = tuple[str, ...]
Json = dict[str, Any]

CHANGE = "difference"
"""of a vote from the vote of all samples: the last part of its place"""
LENGTHS = ("length", "longer")
"""what a score may be no better than: a solution's length, be shorter or longer better"""


def minus(place: Place, length: str) -> Place:
    """Where a score's difference from that of a length stands.

    It is ("auroc", "reward_minus_longer") for ("auroc", "reward") and "longer".
    """
    section, score, *share = place
    return section, f"{score}_minus_{length}", *share


def is_minus(place: Place) -> bool:
    """Whether such a difference stands here."""
    return any("_minus_" in key for key in place)


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


def nested(by_place: Mapping[Place, Any]) -> Json:
    """{("a", "b"): x} as {"a": {"b": x}}."""
    result: Json = {}
    for place, content in by_place.items():
        section = result
        for key in place[:-1]:
            section = section.setdefault(key, {})
        section[place[-1]] = content
    return result
