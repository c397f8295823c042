"""The inputs of the ReLUs of any function."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Literal

from jaxcv.analysis._programs import called, programs

_NAMES = ("relu", "relu6")


def relu_inputs(function: Callable[..., Any], *arguments: Any) -> list[jax.Array]:
    """What ``jax.nn.relu`` and ``jax.nn.relu6`` are applied to, in the order of execution.

    Args:
        function: any that JAX can trace.
        arguments: of the function.

    Raises:
        ValueError: for a ReLU inside a loop or a branch.
    """
    found: list[jax.Array] = []
    _run(jax.make_jaxpr(function)(*arguments), jax.tree.leaves(arguments), found)
    return found


def _run(program: Any, arguments: Sequence[Any], found: list[jax.Array]) -> list[Any]:
    """The results of a program; adds the inputs of its ReLUs to ``found``."""
    jaxpr = getattr(program, "jaxpr", program)
    variables = (*jaxpr.constvars, *jaxpr.invars)
    values = dict(zip(variables, (*getattr(program, "consts", ()), *arguments), strict=True))

    def value(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _results(equation, [value(atom) for atom in equation.invars], found)
        values.update(zip(equation.outvars, results, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _results(equation: Any, operands: list[Any], found: list[jax.Array]) -> Sequence[Any]:
    if _is_relu(equation):
        found.append(operands[0])
    elif (inner := called(equation)) is not None:
        return _run(inner, operands, found)
    elif _has_relu(equation):
        raise ValueError(
            f"function has a ReLU inside a {equation.primitive.name}; allowed are those outside "
            "loops and branches"
        )
    primitive = equation.primitive
    results = primitive.bind(*operands, **primitive.get_bind_params(equation.params))
    return results if primitive.multiple_results else [results]


def _is_relu(equation: Any) -> bool:
    return equation.params.get("name") in _NAMES


def _has_relu(equation: Any) -> bool:
    return any(
        _is_relu(inner) or _has_relu(inner)
        for program in programs(equation.params)
        for inner in getattr(program, "jaxpr", program).eqns
    )
