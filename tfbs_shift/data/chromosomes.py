"""Names of chromosomes: chr1 and 1 are one, and so are chrM, M, chrMT and MT."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

_SHOWN = 3


def key(name: str) -> str:
    """What the names of one chromosome have in common.

    "chr" before it (in any case) is left out, and M, MT and Mt are MT. Nothing else is changed:
    NC_000001.11 or GL000220.1 are names of their own.

    >>> key("chr1") == key("1"), key("chrM"), key("chrX") == key("chrx")
    (True, 'MT', False)
    """
    name = re.sub("^chr", "", name, flags=re.IGNORECASE) or name
    return "MT" if name in ("M", "MT", "Mt") else name


def keys(names: np.ndarray) -> np.ndarray:
    """str (N,): the :func:`key` of each name (N,)."""
    distinct, where = np.unique(np.asarray(names, str), return_inverse=True)
    return np.array([key(name) for name in distinct.tolist()], str)[where]


def unified(names: Iterable[str]) -> dict[str, str]:
    """The name to use for each: the first that its chromosome was given."""
    first: dict[str, str] = {}
    return {name: first.setdefault(key(name), name) for name in dict.fromkeys(names)}


def renamed(names: Mapping[str, str]) -> str:
    """For people, which names are taken for which others; "" where all are as they were.

    >>> renamed({"1": "chr1", "chr2": "chr2"})
    "chromosome '1' is taken as 'chr1'"
    """
    moved = [f"{old!r} is taken as {new!r}" for old, new in names.items() if old != new]
    more = f", and {len(moved) - _SHOWN} more so" if len(moved) > _SHOWN else ""
    return f"chromosome {', '.join(moved[:_SHOWN])}{more}" if moved else ""
