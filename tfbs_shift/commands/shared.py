"""What several commands need of flags."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from absl import flags as absl_flags

from tfbs_shift.errors import InputError


def text(flags: absl_flags.FlagValues) -> Callable[[str, str | None, str], object]:
    """Defines a string flag: (name, default, help)."""
    return partial(absl_flags.DEFINE_string, flag_values=flags)


def number(flags: absl_flags.FlagValues) -> Callable[[str, int | None, str, int], object]:
    """Defines an integer flag: (name, default, help, smallest value)."""
    return partial(absl_flags.DEFINE_integer, flag_values=flags)


def protocol(flags: absl_flags.FlagValues) -> None:
    """Defines ``--protocol``."""
    absl_flags.DEFINE_enum(
        "protocol",
        "exact",
        ["exact", "paper"],
        "How worst is chosen: exact, for each example; or as the paper's code does, with its "
        "deviations (one draw for a whole batch or test set, the loss clamped).",
        flag_values=flags,
    )


def require(flags: absl_flags.FlagValues, *names: str) -> None:
    """Raises InputError for the first flag that was not given."""
    for name in names:
        if flags[name].value is None:
            what = re.split(r"[:.] |[:.]$", flags[name].help)[0]
            raise InputError(f"--{name} is needed: {what[0].lower()}{what[1:]}")


def flagfile(flags: absl_flags.FlagValues, *but: str) -> str:
    """The values as a flagfile, but for some; paths absolute, so that it works from anywhere."""
    lines = []
    for name in flags:
        flag = flags[name]
        if name in but or flag.value is None:
            continue
        lines.append(f"--{name}={_absolute(flag.value)}" if name in _PATHS else flag.serialize())
    return "\n".join(lines) + "\n"


_PATHS = ("data", "model")


def _absolute(value: str) -> str:
    """A path, or several behind commas, made absolute; a word that is no path stays."""
    if not Path(value).expanduser().exists() and "," in value:
        return ",".join(map(_absolute, value.split(",")))
    path = Path(value).expanduser()
    return str(path.resolve()) if path.exists() else value
