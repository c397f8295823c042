"""Parameters of a model; multiply-adds and bytes of a computation."""

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jaxcv.analysis._programs import programs


def count_parameters(model: nnx.Module) -> int:
    """Number of parameters of a model, concrete or abstract (``nnx.eval_shape``).

    An auxiliary head is not counted, as it is left out of published figures.
    """
    weights = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    return sum(
        leaf.size
        for name, part in weights.items()
        if name != "auxiliary"
        for leaf in jax.tree.leaves(part)
    )


def count_multiply_adds(function: Callable[..., Any], *args: Any) -> int:
    """Multiply-adds in the matrix products and convolutions of ``function(*args)``.

    Everything else, such as activations and batch norms, is not counted. Of a convolution those
    with the zeros of its padding are counted. A loop with a number of turns that is not known
    before it runs counts as one turn, of the branches of a condition the dearest counts.

    Args:
        function: any that JAX can trace.
        args: its arguments, concrete or abstract (``jax.ShapeDtypeStruct``).
    """
    return _total(jax.make_jaxpr(function)(*args), _multiply_adds)


def count_operand_bytes(function: Callable[..., Any], *args: Any) -> int:
    """Bytes of the operands and results of all that ``count_multiply_adds`` counts: what is moved
    if each operation reads and writes once, and nothing else moves anything.

    Args:
        function, args: as for ``count_multiply_adds``.
    """
    return _total(jax.make_jaxpr(function)(*args), _operand_bytes)


def _dot_general(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    operand, (result,) = equation.invars[0].aval, equation.outvars
    return result.aval.size * math.prod(operand.shape[axis] for axis in contracted)


def _conv_general_dilated(equation: Any) -> int:
    kernel, (result,) = equation.invars[1].aval, equation.outvars
    outputs = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
    # Of dilated images only one pixel in so many is not a zero of the dilation.
    zeros = math.prod(equation.params["lhs_dilation"])
    return result.aval.size * (kernel.size // outputs) // zeros


def _jaxcv_convolution(equation: Any) -> int:
    # The three members have the same number: each term of the trilinear form once.
    geometry = equation.params["geometry"]
    first, second = (operand.aval.shape for operand in equation.invars)
    pairs = math.prod(geometry.result) * math.prod(geometry.window)
    per_pair = geometry.channels // geometry.groups * second[-1]
    return math.prod(first[:-3]) * pairs * per_pair


# By the name of a primitive: of one of its equations, the multiply-adds. Who adds a primitive that
# multiplies, adds its rule.
MULTIPLY_ADDS: dict[str, Callable[[Any], int]] = {
    "dot_general": _dot_general,
    "conv_general_dilated": _conv_general_dilated,
    "jaxcv_convolution": _jaxcv_convolution,
}


def _multiply_adds(equation: Any) -> int:
    return MULTIPLY_ADDS[equation.primitive.name](equation)


def _operand_bytes(equation: Any) -> int:
    arrays = [variable.aval for variable in (*equation.invars, *equation.outvars)]
    return sum(array.size * array.dtype.itemsize for array in arrays)


def _total(jaxpr: Any, of: Callable[[Any], int]) -> int:
    """The sum over all equations that have a rule, those of inner programs included."""
    total = 0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, params = equation.primitive.name, equation.params
        if name in MULTIPLY_ADDS:
            total += of(equation)
        elif name == "cond":
            total += max(_total(branch, of) for branch in params["branches"])
        else:
            turns = params["length"] if name == "scan" else 1
            total += turns * sum(_total(inner, of) for inner in programs(params))
    return total
