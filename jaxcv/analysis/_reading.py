"""What the results of a program read of an image."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from jaxcv.analysis._programs import called
from jaxcv.analysis._reach import Reach, hull
from jaxcv.analysis._rules import RULES, Place, Reading, Use, everything, unknown

# Of an array that depends on the image what it reads along both axes; of another one how to
# compute it, or none if that is not known.
Value = tuple[Reading, ...] | Callable[[], Any] | None


def read(program: Any, arguments: Sequence[Value]) -> list[Value]:
    """The results of a program.

    Args:
        program: a jaxpr, open or closed.
        arguments: of the program.

    Raises:
        ValueError: for an operation of which it is not known what it reads, and one on which
            features of different jumps meet.
    """
    jaxpr = getattr(program, "jaxpr", program)
    consts = [
        functools.partial(lambda const: const, each) for each in getattr(program, "consts", ())
    ]
    variables = (*jaxpr.constvars, *jaxpr.invars)
    values: dict[Any, Value] = dict(zip(variables, (*consts, *arguments), strict=True))

    def value(atom: Any) -> Value:
        return (lambda: atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _results(equation, [value(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, results, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def _results(equation: Any, operands: list[Value]) -> list[Value]:
    name = equation.primitive.name
    if not any(isinstance(operand, tuple) for operand in operands):
        return _constants(equation, operands)
    if name in RULES:
        return [_by_rule(equation, operands, result) for result in range(len(equation.outvars))]
    if name == "cond":
        branches = [read(branch, operands[1:]) for branch in equation.params["branches"]]
        return [_union(name, [operands[0], *each]) for each in zip(*branches, strict=True)]
    if name == "scan":
        return _scan(equation, operands)
    inner = called(equation)
    if inner is None:
        raise unknown(name)
    return read(inner, operands)


def _constants(equation: Any, operands: list[Value]) -> list[Value]:
    """Results that do not depend on the image: computed only if a rule asks for them."""
    count = len(equation.outvars)
    known = [operand for operand in operands if callable(operand)]
    if len(known) < len(operands):
        return [None] * count
    primitive = equation.primitive

    @functools.cache
    def compute() -> Sequence[Any]:
        params = primitive.get_bind_params(equation.params)
        results = primitive.bind(*(operand() for operand in known), **params)
        return results if primitive.multiple_results else [results]

    return [functools.partial(lambda number: compute()[number], each) for each in range(count)]


def _by_rule(equation: Any, operands: list[Value], result: int) -> Value:
    def constant(number: int) -> np.ndarray | None:
        operand = operands[number]
        computed = operand() if callable(operand) else None
        known = computed is not None and not isinstance(computed, jax.core.Tracer)
        return np.asarray(computed) if known else None

    rule = RULES[equation.primitive.name]
    values: list[Value] = []
    for number, operand in enumerate(operands):
        if isinstance(operand, tuple):
            use = Use(equation, number, result, constant)
            values.append(tuple(rule(r, use) if isinstance(r, Place) else r for r in operand))
    return _union(equation.primitive.name, values)


def _scan(equation: Any, operands: list[Value]) -> list[Value]:
    """Turn by turn, as each may read farther."""
    params = equation.params
    body = params["jaxpr"]
    ranks = [
        [var.aval.ndim for var in each]
        for each in (equation.invars, body.jaxpr.invars, equation.outvars, body.jaxpr.outvars)
    ]
    # What is taken or put out turn by turn has one more axis outside the body.
    taken = [outside > inside for outside, inside in zip(ranks[0], ranks[1], strict=True)]
    put = [outside > inside for outside, inside in zip(ranks[2], ranks[3], strict=True)]
    carried = len(put) - sum(put)
    first = len(taken) - sum(taken) - carried
    each_turn = [_moved(v, -1) if t else v for v, t in zip(operands, taken, strict=True)]
    results: list[Value] = []
    for turn in range(params["length"]):
        new = read(body, each_turn)
        each_turn[first : first + carried] = new[:carried]
        collected = new[carried:]
        if turn:
            collected = [_union("scan", both) for both in zip(results, collected, strict=True)]
        results = collected
    return [*each_turn[first : first + carried], *(_moved(v, 1) for v in results)]


def _moved(value: Value, by: int) -> Value:
    """With places moved for an axis that goes away or comes before the others."""
    if not isinstance(value, tuple):
        return None
    if by < 0 and any(isinstance(reading, Place) and reading.dim == 0 for reading in value):
        raise unknown("scan")
    return tuple(
        reading._replace(dim=reading.dim + by) if isinstance(reading, Place) else reading
        for reading in value
    )


def _union(name: str, values: Sequence[Value]) -> Value:
    readings = [value for value in values if isinstance(value, tuple)]
    if not readings:
        return None
    return tuple(_meeting(name, along) for along in zip(*readings, strict=True))


def _meeting(name: str, readings: Sequence[Reading]) -> Reading:
    """What an entry reads in which several readings meet."""
    places = [reading for reading in readings if isinstance(reading, Place)]
    fixed = [reading for reading in readings if isinstance(reading, range) and reading]
    if fixed or len({place[:2] for place in places}) != 1:
        return hull([*fixed, *map(everything, places)])
    jumps = sorted({place.reach.jump for place in places})
    if len(jumps) > 1:
        raise ValueError(
            f"function has the operation {name!r} on features that are {jumps[0]} and {jumps[1]} "
            "pixels of x apart; allowed is one distance"
        )
    reach = functools.reduce(Reach.union, (place.reach for place in places))
    return places[0]._replace(reach=reach)
