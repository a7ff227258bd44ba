"""The command line: ``tfbs-shift COMMAND --flag=value ...``.

Each command is a module with a docstring (its help), ``define(flags)`` and ``run(flags)``. Flags
are absl's, on a ``FlagValues`` of their own for each call, so that no command sees another's.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
import textwrap
from collections.abc import Sequence
from types import ModuleType

from absl import flags as absl_flags

import tfbs_shift
from tfbs_shift.errors import InputError, Interrupted
from tfbs_shift.text import one_line

# In the order of a workflow. The modules load only when called for: TensorFlow takes seconds.
COMMANDS = {
    "demo": "train and audit two networks on synthetic sequences; needs no data",
    "extend": "add flanks from a genome to the rows of DeepSEA's .mat files",
    "train": "train a network under a shift strategy",
    "import": "turn an old weight file (Keras 2 with Theano, tf.keras 2.x) into a .keras file",
    "evaluate": "audit a trained network: accuracy when its window moves, with a report",
    "compare": "put audits of several networks side by side, with intervals and tests",
}

_HELP = ("--help", "-h", "-help", "help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after ``tfbs-shift``; None takes them from ``sys.argv``.

    Returns:
        The exit status: 0 done; 1 for anything a user can cause, with one line on standard error;
        130 when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal cannot show is spelled out
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return dispatch(words)
    except InputError as error:
        return _fail(str(error))
    except absl_flags.Error as error:
        message = str(error).removeprefix("ERROR:: ")
        return _fail(f"{message} (tfbs-shift {words[0]} --help lists the flags)")
    except BrokenPipeError:  # the reader of our output, head say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _fail(f"not enough memory: {error or 'for the sizes that were asked for'}")
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}")
    except Interrupted as stop:
        _fail(str(stop))
        return stop.status
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130


def dispatch(words: list[str]) -> int:
    """Runs one command, like :func:`main`, but raises what goes wrong."""
    if not words or words[0] in _HELP:
        print(_overview())
        return 0
    if words[0] in ("--version", "-version"):
        print(f"tfbs-shift {tfbs_shift.__version__}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"want {', '.join(COMMANDS)}"
        raise InputError(f"no command {name!r}: {hint}")
    command, flags = command_and_flags(name)
    if any(word in _HELP for word in words[1:]):
        print(_help(name, command.__doc__ or "", flags))
        return 0
    rest = flags([name, *_with_flagfiles(flags, words[1:])])[1:]
    if rest:
        raise InputError(f"{name}: do not know what to do with {rest[0]!r}; flags begin with --")
    for flag in map(flags.__getitem__, flags):
        if isinstance(flag.value, str) and one_line(flag.value) != flag.value:
            raise InputError(
                f"--{flag.name}={flag.value}: has a line break or another character that is none "
                "of a text; rename what it is the name of"
            )
    if flags.verbosity >= 0:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    command.run(flags)
    return 0


def _with_flagfiles(flags: absl_flags.FlagValues, words: list[str]) -> list[str]:
    """The words, and in place of ``--flagfile=FILE`` those of the file, which may be an editor's.

    Such a file may begin with a byte order mark, which absl takes for a part of its first line.
    """
    try:
        words = flags.read_flags_from_files(words, force_gnu=False)
    except UnicodeError as error:
        raise InputError(f"--flagfile: not a text file in UTF-8 ({error})") from error
    return [
        word.lstrip(_MARK) for word in words if not word.startswith((f"{_MARK}#", f"{_MARK}//"))
    ]


_MARK = "\ufeff"


def command_and_flags(name: str) -> tuple[ModuleType, absl_flags.FlagValues]:
    """The module of a command and its flags, those of all commands last."""
    command = importlib.import_module(f"{__name__}.{name}")
    flags = absl_flags.FlagValues()
    command.define(flags)
    absl_flags.DEFINE_integer(
        "verbosity",
        -1,
        "From 0 on, what TensorFlow or JAX have to say is shown, too.",
        flag_values=flags,
    )
    return command, flags


def _fail(message: str) -> int:
    print(f"tfbs-shift: {one_line(' '.join(message.split()))}", file=sys.stderr)
    return 1


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, line in COMMANDS.items()]
    return "\n".join(
        [
            "Does your network's answer change when its DNA window moves a few bases?",
            "",
            "usage: tfbs-shift COMMAND [--flag=value ...]",
            "",
            *lines,
            "",
            "tfbs-shift COMMAND --help lists the flags of a command; --version the version.",
        ]
    )


def _help(name: str, doc: str, flags: absl_flags.FlagValues) -> str:
    lines = [f"usage: tfbs-shift {name} [--flag=value ...]", "", doc.strip(), "", "flags:"]
    for shown, text in flag_texts(flags):
        lines += [f"  {shown}", *(f"      {line}" for line in textwrap.wrap(text, 78))]
    return "\n".join(lines)


def flag_texts(flags: absl_flags.FlagValues) -> list[tuple[str, str]]:
    """How each flag is written, and its help with its default."""
    texts = []
    for flag in map(flags.__getitem__, flags):
        shown = (flag.default_as_str or "").strip("'")
        default = f" (default: {shown})" if shown else ""
        texts.append((f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}",
                      flag.help + default))  # fmt: skip
    return [*texts, ("--flagfile", "Read flags from this file; those given after it override.")]
