"""What the commands share: presets, resuming, errors as one line."""

import contextlib
import dataclasses
import io
import os
import re
import sys
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro

import experiments
from jaxcv.genotype import Genotype
from jaxcv.training.run import Run

Options = TypeVar("Options")
Architecture = TypeVar("Architecture")


def main(command: Callable[[Sequence[str]], None]) -> None:
    """Runs a command. Bad input ends it with one line and status 2, a diverged run with status 1,
    Ctrl-C with status 130."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    # The second start of a command then need not compile again.
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "jaxcv"))
    try:
        experiments.loaded()
        command(sys.argv[1:])
    except (ValueError, OSError) as error:
        _end(2, f"error: {error}")
    except FloatingPointError as error:
        _end(1, f"error: {error}")
    except KeyboardInterrupt as error:
        _end(130, str(error) or "stopped")


def _end(status: int, text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr)
    sys.exit(status)


def start(
    arguments: Sequence[str],
    name: str,
    presets: Mapping[str, Options],
    description: str | None,
    kind: str = "",
) -> tuple[Options, Run | None]:
    """The options of a command, from the command line; or those of the run that ``--resume`` goes
    on with, and that run.

    Args:
        arguments: of the command line.
        name: of the command.
        presets: options by name.
        description: of the command.
        kind: of its runs, if that is not its name.

    Raises:
        ValueError: for whatever is not allowed.
    """
    folder = resumed(arguments)
    if folder is None:
        return parse(arguments, presets, description or "", f"python -m experiments.{name}"), None
    run = Run.open(folder, kind or name)
    return options_of(run, type(next(iter(presets.values())))), run


@contextlib.contextmanager
def resumable(name: str, run: Run) -> Iterator[None]:
    """Where Ctrl-C leaves a run of a command that ``--resume`` goes on with, and is told so."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"{stop or 'Stopped'}. Go on with: python -m experiments.{name} --resume {run.path}"
        ) from None


def parse(
    arguments: Sequence[str], presets: Mapping[str, Options], description: str, program: str
) -> Options:
    """Options from the command line: those of ``--preset``, changed by the other flags.

    Raises:
        ValueError: for an unknown preset.
    """
    name, rest = take(arguments, "--preset")
    if name is None:
        name = next(iter(presets))
    if name not in presets:
        raise ValueError(f"preset={name!r}; allowed are {', '.join(presets)}")
    options = presets[name]
    return typed(
        type(options),
        rest,
        program,
        default=options,
        description=f"{description} Start from one of the presets {', '.join(presets)} with "
        f"--preset NAME; the defaults shown here are those of {name}. --resume FOLDER, alone, goes "
        "on with a stopped run.",
    )


def typed(
    kind: type[Options], arguments: Sequence[str], program: str, description: str, **more: Any
) -> Options:
    """Options from the command line by tyro, whose framed messages become errors of one line.

    Raises:
        ValueError: for an unknown flag, or a value that is not allowed; of "seed" too.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = tyro.cli(
                kind, args=list(arguments), prog=program, description=description, **more
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_plain(said.getvalue(), kind.__name__)) from None
    seed = getattr(options, "seed", 0)
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed={seed!r}; allowed are 0 to {2**31 - 1}")
    return options


# How tyro calls the types of values.
_ALLOWED = {
    "INT": "an int",
    "FLOAT": "a number",
    "{None}|INT": "an int or None",
    "{None}|FLOAT": "a number or None",
    "[INT [INT ...]]": "ints",
    "[FLOAT [FLOAT ...]]": "numbers",
}


def _plain(framed: str, root: str) -> str:
    """What tyro says, without its frame, of box-drawing characters or blanks and dashes, and in
    the words of the other errors.

    Args:
        framed: as tyro writes it.
        root: the name of the options' class.
    """
    lines = (line.strip(" │") for line in framed.splitlines()[1:])
    text = " ".join(line for line in lines if line.strip("╭╮╰╯─-"))
    text = text.partition(" For full helptext")[0]
    found = re.match(r"Error parsing (\S+): (.*)", text)
    if found is None:
        return text
    name, reason = found.groups()
    if not name.startswith("-"):
        return reason if name == root else under(name, reason)
    flag = re.escape(name)
    value = re.match(
        rf".*?(?:: |from )(\[.*?\]|'.*?').* Argument helptext: {flag} (\[.*?\]\]|\S+)", reason
    )
    name = name.lstrip("-").replace("-", "_")
    if value is None:
        return f"{name}: {reason}"
    return f"{name}={value[1].strip('[]')}; allowed is {_ALLOWED.get(value[2], value[2])}"


def under(name: str, reason: str) -> str:
    """What is wrong with options that stand under a name."""
    return f"{name}.{reason}" if re.match(r"\w+=", reason) else f"{name}: {reason}"


def given(arguments: Sequence[str], flag: str) -> bool:
    """Whether a flag is among the arguments, in any spelling that tyro knows."""
    return any(each.partition("=")[0].replace("_", "-") == flag for each in arguments)


def take(arguments: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of ``flag value`` or ``flag=value``, and the other arguments.

    Raises:
        ValueError: for the flag without a value.
    """
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == flag:
            after = position + (1 if equals else 2)
            if not equals:
                value = "".join(arguments[position + 1 : after])
            if not value:
                raise ValueError(f"{flag} has no value; allowed is {flag} followed by one")
            return value, [*arguments[:position], *arguments[after:]]
    return None, list(arguments)


def resumed(arguments: Sequence[str]) -> str | None:
    """The folder of ``--resume``, which stands alone, or None.

    Raises:
        ValueError: if other flags stand beside it.
    """
    folder, rest = take(arguments, "--resume")
    if folder is not None and rest:
        raise ValueError(
            f"{' '.join(rest)} beside --resume; allowed is --resume alone, as the folder brings "
            "the options that its run began with"
        )
    return folder


def options_of(run: Run, kind: type[Options]) -> Options:
    """The options that a command began a run with.

    Raises:
        ValueError: for a run that a command of this version did not begin.
    """
    try:
        return _restored(kind, run.config["options"])
    except (KeyError, TypeError, AttributeError):
        raise ValueError(
            f"folder={str(run.path)!r} has a config.json without the options of this command; "
            "allowed is a run that this version of the command began"
        ) from None


def _restored(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Options from what ``dataclasses.asdict`` made of them and JSON kept."""
    types = typing.get_type_hints(kind)
    fields = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(types[name]):
            value = _restored(types[name], value)
        fields[name] = tuple(value) if isinstance(value, list) else value
    return kind(**fields)


JOINING = (
    "Over several processes, on one machine or many, start each with the same flags and with "
    "--coordinator HOST:PORT, of the first, --processes N and --process-id I, from 0; or with "
    "--coordinator auto where JAX knows the cluster, such as Slurm or a TPU pod."
)


def joined(arguments: Sequence[str]) -> list[str]:
    """Joins the processes that ``--coordinator``, ``--processes`` and ``--process-id`` describe;
    gives back the other arguments. They stand beside ``--resume`` too.

    Raises:
        ValueError: for one of them without the others, or a number that is none.
    """
    coordinator, rest = take(arguments, "--coordinator")
    count, rest = take(rest, "--processes")
    number, rest = take(rest, "--process-id")
    texts = [text for text in (count, number) if text is not None]
    if coordinator is None or coordinator == "auto":
        if texts:
            flag = "--process-id" if count is None else "--processes"
            raise ValueError(f"{flag} {texts[0]} alone; allowed is beside --coordinator HOST:PORT")
        if coordinator is not None:
            jax.distributed.initialize()
    elif len(texts) == 2 and all(text.isdecimal() for text in texts):
        jax.distributed.initialize(coordinator, int(texts[0]), int(texts[1]))
    else:
        raise ValueError(
            f"--processes={count!r} and --process-id={number!r}; allowed are two whole numbers "
            "beside --coordinator HOST:PORT"
        )
    return rest


def read_genotype(
    name: str, known: Mapping[str, Genotype], parse: Callable[[str], Architecture]
) -> Genotype | Architecture:
    """A known genotype by name, or what a file holds.

    Args:
        name: of the genotype, or of the file.
        known: genotypes by name.
        parse: what is written in the file, such as ``Genotype.parse``.

    Raises:
        ValueError: for a name that is neither, or a file that cannot be parsed.
    """
    if name in known:
        return known[name]
    try:
        text = Path(name).read_text()
    except (OSError, UnicodeDecodeError):
        raise ValueError(
            f"genotype={name!r} cannot be read; allowed is a file, or one of {', '.join(known)}"
        ) from None
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"genotype={name!r}: {error}") from None
