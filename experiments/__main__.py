"""``python -m experiments``: the list of the commands."""

import ast
import re
import sys
import textwrap
from pathlib import Path

import experiments


def commands() -> dict[str, str]:
    """What each command does, by its name; read, since to import them would take seconds."""
    found = {}
    folder = Path(__file__).parent
    for path in sorted([*folder.glob("*.py"), *folder.glob("*/command.py")]):
        tree = ast.parse(path.read_text())
        if any(isinstance(part, ast.FunctionDef) and part.name == "command" for part in tree.body):
            name = path.parent.name if path.stem == "command" else path.stem
            found[name] = re.split(r"[.:;]\s", ast.get_docstring(tree) or "")[0].rstrip(".")
    return found


def listing() -> str:
    """The commands, as text."""
    known = commands()
    width = max(map(len, known))
    indent = " " * (width + 4)
    lines = [
        textwrap.fill(f"  {name:<{width}}  {text}", 100, subsequent_indent=indent)
        for name, text in sorted(known.items())
    ]
    head = "usage: python -m experiments.COMMAND, with --help for its options\n\ncommands:"
    return "\n".join([head, *lines])


if __name__ == "__main__":
    experiments.loaded()
    asked = sys.argv[1:] in (["--help"], ["-h"])
    print(listing(), file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked else 2)
