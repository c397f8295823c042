"""The programs inside an equation of a jaxpr."""

from collections.abc import Iterator, Mapping
from typing import Any


def programs(params: Mapping[str, Any]) -> Iterator[Any]:
    """Each jaxpr, open or closed, among the parameters of an equation."""
    for value in params.values():
        for item in value if isinstance(value, tuple) else (value,):
            if hasattr(getattr(item, "jaxpr", item), "eqns"):
                yield item


def called(equation: Any) -> Any | None:
    """The program that an equation does nothing but call, such as that of ``jax.jit``."""
    inner = list(programs(equation.params))
    if len(inner) != 1 or equation.primitive.name == "scan":
        return None
    jaxpr = getattr(inner[0], "jaxpr", inner[0])
    shapes = [
        [variable.aval.shape for variable in variables]
        for variables in (jaxpr.invars, equation.invars, jaxpr.outvars, equation.outvars)
    ]
    return inner[0] if shapes[0] == shapes[1] and shapes[2] == shapes[3] else None
