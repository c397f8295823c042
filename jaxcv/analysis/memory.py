"""Memory that a computation takes for what lies between its arguments and its results."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from jaxcv.analysis._programs import called, programs


def count_activation_bytes(function: Callable[..., Any], *args: Any) -> int:
    """The most bytes of activations that ``function(*args)`` holds at one time.

    An activation is what an operation puts out, intermediate or final; arguments and constants,
    such as images and weights, are none. Operations run in program order; an activation is held
    from the operation that makes it to the last one that reads it, or to the end if it is
    returned. Of a forward pass this is the memory of inference. For that of training give
    ``lambda *args: jax.vjp(function, *args)``, which returns what the backward pass needs.

    It depends on the program alone and not on device or compiler, which may need less by fusing
    operations. A loop with a number of turns that is not known before it runs is taken as one
    turn; of the branches of a condition the one that holds most counts.

    Args:
        function: any that JAX can trace.
        args: its arguments, concrete or abstract (``jax.ShapeDtypeStruct``).
    """
    return _peak(jax.make_jaxpr(function)(*args))


class _Step(NamedTuple):
    """An operation: what it reads and makes, by number, and the bytes that it holds inside."""

    reads: list[int]
    makes: list[int]
    inside: int


def _peak(program: Any) -> int:
    jaxpr = getattr(program, "jaxpr", program)
    sizes: list[int] = []
    steps: list[_Step] = []
    results = _unroll(jaxpr, [_number(sizes, 0) for _ in jaxpr.invars], sizes, steps)
    steps.append(_Step(results, [], 0))
    last = {number: at for at, step in enumerate(steps) for number in (*step.makes, *step.reads)}
    held = peak = 0
    for at, step in enumerate(steps):
        held += sum(sizes[number] for number in step.makes)
        peak = max(peak, held + step.inside)
        held -= sum(sizes[number] for number in {*step.reads, *step.makes} if last[number] == at)
    return peak


def _number(sizes: list[int], size: int) -> int:
    sizes.append(size)
    return len(sizes) - 1


def _unroll(jaxpr: Any, given: list[int], sizes: list[int], steps: list[_Step]) -> list[int]:
    """Appends the steps of a program, those of a program that it calls in its place, and the sizes
    of all that they make; returns the numbers of its results."""
    constants = {variable: _number(sizes, 0) for variable in jaxpr.constvars}
    numbers = constants | dict(zip(jaxpr.invars, given, strict=True))

    def number(atom: Any) -> int:
        return _number(sizes, 0) if isinstance(atom, Literal) else numbers[atom]

    for equation in jaxpr.eqns:
        reads = [number(atom) for atom in equation.invars]
        inner = called(equation)
        if inner is None:
            arrays = [variable.aval for variable in equation.outvars]
            makes = [_number(sizes, array.size * array.dtype.itemsize) for array in arrays]
            inside = max(map(_peak, programs(equation.params)), default=0)
            steps.append(_Step(reads, makes, inside))
        else:
            makes = _unroll(getattr(inner, "jaxpr", inner), reads, sizes, steps)
        numbers.update(zip(equation.outvars, makes, strict=True))
    return [number(atom) for atom in jaxpr.outvars]
