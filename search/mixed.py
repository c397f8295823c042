"""The mixed operation of all edges that leave one state, with a backward pass of its own.

Its definition, in ``mixed_definition``, is plain JAX, and holds on every platform. Of what the
forward pass computes only the results of convolutions are kept; the backward pass computes again
what lies between two of them, which is cheap, so that a search needs a third of the memory. On the
CPU both passes, and their tangents, are C++ (``native/mixed.cc``), where a compiler was found.

The forward pass is a primitive; so are its tangent, which is linear, and the tangent's transpose,
which is the backward pass, and the tangent of that. Derivatives of the two tangents are those of
the definition: derivatives of any order, forward and reverse, agree with it.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcv.analysis import MULTIPLY_ADDS
from jaxcv.functional import _primitives, native
from jaxcv.functional._geometry import Geometry
from search.mixed_definition import Static, by_definition

Kernels = Sequence[Sequence[tuple[jax.Array, jax.Array]]]


def mixed_edges(
    x: jax.Array,
    mix: jax.Array,
    shared: Sequence[jax.Array],
    kernels: Kernels,
    static: Static,
) -> list[jax.Array]:
    """What each edge adds to the node that it enters.

    ``y[e] = sum_q mix[e, q] s_q + sum_k mix[e, Q + k] b_ek(x)``, where a shared term s_q, or its
    batch norm, is the same on all edges, and a branch b_ek is a chain of ReLU, depthwise
    convolution, pointwise convolution and batch norm. Batch norms have no parameters and keep no
    statistics.

    Args:
        x: images [batch, height, width, C].
        mix: [E, Q + K], computed with in float32 at least.
        shared: Q arrays of the shape of a result.
        kernels: of each of the K branches and each of its stages, those of both convolutions,
            [E, F, F, 1, C] and [E, 1, 1, C, C].
        static: the rest.

    Returns:
        E arrays [batch, height', width', C].
    """
    flat_kernels = [kernel for branch in kernels for pair in branch for kernel in pair]
    mix = mix.astype(jnp.promote_types(x.dtype, jnp.float32))
    arguments = [x, mix, *shared, *(kernel.astype(x.dtype) for kernel in flat_kernels)]
    if not static.branches:
        return by_definition(static, arguments)[0]

    def forward(*arguments: jax.Array) -> list[jax.Array]:
        outputs = _forward.bind(*(a[None] for a in arguments), static=static)
        return [y[0] for y in outputs[: static.edges]]

    return _primitives.call(forward, *arguments)


# The primitives. Every array has a leading axis of searches; arguments are x, mix, shared, kernels.


def _forward_definition(*arguments: jax.Array, static: Static) -> list[jax.Array]:
    """The edges' results, the convolutions' results, and the batch norms' moments (which only the
    C++ form fills)."""
    edges, results = jax.vmap(functools.partial(by_definition, static))(arguments)
    moments = jnp.zeros(_moments_shape(arguments[0], static), jnp.float32)
    return [*edges, *results, moments]


def _moments_shape(x: Any, static: Static) -> tuple[int, ...]:
    count = len(static.normalized) + static.stages * static.edges
    return (x.shape[0], count, 2, x.shape[-1])


def _split(arguments: Sequence[Any], static: Static) -> tuple[list[Any], list[Any], list[Any]]:
    """Arguments of the primitive, what the forward pass kept, and the rest."""
    first = 2 + len(static.normalized) + 2 * static.stages
    second = first + static.stages + 1
    return list(arguments[:first]), list(arguments[first:second]), list(arguments[second:])


def _tangent_definition(*arguments: jax.Array, static: Static) -> list[jax.Array]:
    """Tangents of all that the forward pass puts out."""
    primals, _, tangents = _split(arguments, static)

    def forward(*arguments: jax.Array) -> list[jax.Array]:
        return _forward_definition(*arguments, static=static)

    return jax.jvp(forward, tuple(primals), tuple(tangents))[1]


def _backward_definition(
    *arguments: jax.Array, static: Static, weights: bool, kept: bool = True
) -> list[jax.Array]:
    """Gradients by x, mix and shared terms, and with ``weights`` by the kernels; then what the C++
    form works in."""
    primals, saved, gradients = _split(arguments, static)
    known = saved[:-1] if kept else None
    first = len(primals) - 2 * static.stages

    def edges(arguments: list[jax.Array]) -> list[jax.Array]:
        arguments = [*arguments, *primals[len(arguments) :]]
        return jax.vmap(lambda a, known: by_definition(static, a, known)[0])(arguments, known)

    _, transposed = jax.vjp(edges, primals if weights else primals[:first])
    return [*transposed(gradients)[0], *map(jnp.zeros_like, _scratch(saved, static))]


def _second_definition(*arguments: jax.Array, static: Static, weights: bool) -> list[jax.Array]:
    """Tangents of all that the backward pass puts out. It takes what was kept as computed again, so
    that its dependence on the other arguments counts; the C++ form reads the tangents of that."""
    primals, _, tangents = _split_second(arguments, static)

    def backward(*arguments: jax.Array) -> list[jax.Array]:
        return _backward_definition(*arguments, static=static, weights=weights, kept=False)

    return jax.jvp(backward, tuple(primals), tuple(tangents))[1]


def _split_second(
    arguments: Sequence[Any], static: Static
) -> tuple[list[Any], list[Any], list[Any]]:
    """Arguments of the backward pass, what it worked in, and tangents of its arguments."""
    count = sum(len(branch) > 1 for branch in static.branches)
    first = (len(arguments) - count) // 2
    second = first + count
    return list(arguments[:first]), list(arguments[first:second]), list(arguments[second:])


def _scratch(saved: Sequence[Any], static: Static) -> list[Any]:
    """For each branch of several stages, an array like the results of its convolutions."""
    starts = np.cumsum([0, *map(len, static.branches)])
    return [
        saved[start]
        for start, branch in zip(starts, static.branches)  # noqa: B905
        if len(branch) > 1
    ]


def _like(x: Any) -> jax.core.ShapedArray:
    return _primitives.result(x, x.shape)


def _forward_shapes(*arguments: Any, static: Static) -> list[jax.core.ShapedArray]:
    x = arguments[0]
    height, width = _windows(arguments, static)[0].result
    result = (x.shape[0], x.shape[1], height, width, x.shape[-1])
    kept = (x.shape[0], static.edges, *result[1:])
    return [
        *(_primitives.result(x, result) for _ in range(static.edges)),
        *(_primitives.result(x, kept) for _ in range(static.stages)),
        _primitives.result(x, _moments_shape(x, static), jnp.float32),
    ]


def _tangent_shapes(*arguments: Any, static: Static) -> list[jax.core.ShapedArray]:
    primals, _, _ = _split(arguments, static)
    return _forward_shapes(*primals, static=static)


def _backward_shapes(*arguments: Any, static: Static, weights: bool) -> list[Any]:
    primals, saved, _ = _split(arguments, static)
    first = len(primals) if weights else len(primals) - 2 * static.stages
    return [*map(_like, primals[:first]), *map(_like, _scratch(saved, static))]


def _second_shapes(*arguments: Any, static: Static, weights: bool) -> list[Any]:
    primals, _, _ = _split_second(arguments, static)
    return _backward_shapes(*primals, static=static, weights=weights)


# C++ on the CPU.


def _windows(arguments: Sequence[Any], static: Static) -> list[Geometry]:
    x = arguments[0]
    depthwise = iter(arguments[2 + len(static.normalized) :: 2])
    windows = []
    for branch in static.branches:
        image = (x.shape[2], x.shape[3])
        for stride, padding, dilation in branch:
            size = next(depthwise).shape[2:4]
            result = tuple(
                (i + 2 * padding - dilation * (f - 1) - 1) // stride + 1
                for i, f in zip(image, size, strict=True)
            )
            pads = ((padding, padding), (padding, padding))
            channels = x.shape[-1]
            windows.append(
                Geometry(
                    channels, image, result, size, (stride,) * 2, pads, (dilation,) * 2, channels
                )
            )
            image = result
    return windows


def _numbers(arguments: Sequence[Any], static: Static) -> np.ndarray:
    """A call's shape as ``read_layout`` of ``mixed.cc`` expects it."""
    numbers = [static.edges, len(static.normalized), static.stages, *static.normalized]
    windows = iter(_windows(arguments, static))
    for branch, stages in enumerate(static.branches):
        for depth in range(len(stages)):
            numbers += [branch, depth, depth + 1 == len(stages), *next(windows).numbers]
    return np.array(numbers, np.int64)


def _on_cpu(name: str, definition: Any, shapes: Any) -> Any:
    def lowered(*arguments: jax.Array, static: Static, **flags: bool) -> list[jax.Array]:
        # Of a longer branch the backward pass's work is not kept, which its tangent reads.
        longest = max(map(len, static.branches))
        if (
            (name == "jaxcv_mixed_second" and longest > 2)
            or arguments[0].dtype not in (jnp.float32, jnp.bfloat16)
            or not native.load(Path(__file__).parent / "native" / "mixed.cc", *_TARGETS)
        ):
            return definition(*arguments, static=static, **flags)
        results = [
            jax.ShapeDtypeStruct(shape.shape, shape.dtype)
            for shape in shapes(*map(jax.typeof, arguments), static=static, **flags)
        ]
        numbers = _numbers(arguments, static)
        return list(jax.ffi.ffi_call(name, results)(*arguments, numbers=numbers, **flags))

    return lowered


def _batch(
    primitive: Primitive, arguments: Sequence[jax.Array], axes: Sequence[int | None], **static: Any
) -> tuple[list[jax.Array], list[int]]:
    """More searches, along the axis that there is for them."""
    size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    moved = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arguments, axes, strict=True)
    ]
    outputs = primitive.bind(*(a.reshape(-1, *a.shape[2:]) for a in moved), **static)
    return [o.reshape(size, -1, *o.shape[1:]) for o in outputs], [0] * len(outputs)


def _jitted(function: Any) -> Any:
    """The function, traced and lowered once for all calls of the same shapes."""

    @functools.cache
    def of(static: tuple[tuple[str, Any], ...]) -> Any:
        return jax.jit(functools.partial(function, **dict(static)))

    return lambda *arguments, **static: of(tuple(static.items()))(*arguments)


def _primitive(name: str, definition: Any, shapes: Any) -> Primitive:
    primitive = _primitives.create(name, multiple_results=True)
    once = _jitted(definition)
    primitive.def_abstract_eval(shapes)
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(once, multiple_results=True))
    native.register_lowering(primitive, _on_cpu(name, once, shapes), once)
    return primitive


# Also the names of the C++ forms.
_TARGETS = (
    "jaxcv_mixed_forward",
    "jaxcv_mixed_tangent",
    "jaxcv_mixed_backward",
    "jaxcv_mixed_second",
)
_forward = _primitive(_TARGETS[0], _forward_definition, _forward_shapes)
_tangent = _primitive(_TARGETS[1], _tangent_definition, _tangent_shapes)
_backward = _primitive(_TARGETS[2], _backward_definition, _backward_shapes)
_second = _primitive(_TARGETS[3], _second_definition, _second_shapes)


def _forward_jvp(
    primals: Sequence[jax.Array], tangents: Sequence[Any], *, static: Static
) -> tuple[list[jax.Array], list[Any]]:
    outputs = _forward.bind(*primals, static=static)
    kept = outputs[static.edges :]
    given = map(ad.instantiate_zeros, tangents)
    return outputs, _tangent.bind(*primals, *kept, *given, static=static)


def _tangent_transpose(cotangents: Sequence[Any], *arguments: Any, static: Static) -> list[Any]:
    """The backward pass. Nobody but that reads what was kept, and its derivatives take that as
    computed again, so that there are no gradients by what was kept."""
    primals, kept, tangents = _split(arguments, static)
    wanted = list(map(ad.is_undefined_primal, tangents))
    gradients = _backward.bind(
        *primals,
        *kept,
        *map(ad.instantiate_zeros, cotangents[: static.edges]),
        static=static,
        weights=any(wanted[len(primals) - 2 * static.stages :]),
    )
    return [None] * (len(primals) + len(kept)) + [
        gradients[number] if is_wanted else None for number, is_wanted in enumerate(wanted)
    ]


def _backward_jvp(
    primals: Sequence[jax.Array], tangents: Sequence[Any], *, static: Static, weights: bool
) -> tuple[list[jax.Array], list[Any]]:
    outputs = _backward.bind(*primals, static=static, weights=weights)
    scratch = outputs[len(outputs) - sum(len(branch) > 1 for branch in static.branches) :]
    given = map(ad.instantiate_zeros, tangents)
    moved = _second.bind(*primals, *scratch, *given, static=static, weights=weights)
    gradients = len(outputs) - len(scratch)
    return outputs, [*moved[:gradients], *(ad.Zero(jax.typeof(array)) for array in scratch)]


def _second_transpose(
    cotangents: Sequence[Any], *arguments: Any, static: Static, weights: bool
) -> list[Any]:
    wanted = list(map(ad.is_undefined_primal, arguments))

    def moved(*given: jax.Array) -> list[jax.Array]:
        remaining = iter(given)
        known_or_given = [
            next(remaining) if is_wanted else a
            for a, is_wanted in zip(arguments, wanted, strict=True)
        ]
        return _second_definition(*known_or_given, static=static, weights=weights)

    shapes = [
        jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype)
        for a, is_wanted in zip(arguments, wanted, strict=True)
        if is_wanted
    ]
    transposed = jax.linear_transpose(moved, *shapes)
    found = iter(transposed(list(map(ad.instantiate_zeros, cotangents))))
    return [next(found) if is_wanted else None for is_wanted in wanted]


def _definition_jvp(
    function: Any, primals: Sequence[jax.Array], tangents: Sequence[Any], **static: Any
) -> tuple[list[jax.Array], list[jax.Array]]:
    return jax.jvp(
        functools.partial(function, **static),
        tuple(primals),
        tuple(map(ad.instantiate_zeros, tangents)),
    )


def _multiply_adds(equation: Any) -> int:
    """Of all stages once; what the backward pass computes again is not counted."""
    arguments = [variable.aval for variable in equation.invars]
    x, static = arguments[0], equation.params["static"]
    pixels = static.edges * x.shape[0] * x.shape[1]
    return sum(
        pixels * math.prod(window.result) * window.channels
        * (math.prod(window.window) + window.channels)
        for window in _windows(arguments, static)
    )  # fmt: skip


def _backward_multiply_adds(equation: Any) -> int:
    return (2 if equation.params["weights"] else 1) * _multiply_adds(equation)


def _tangent_multiply_adds(equation: Any) -> int:
    """Of a product both factors have a tangent."""
    return 2 * _multiply_adds(equation)


def _second_multiply_adds(equation: Any) -> int:
    return 2 * _backward_multiply_adds(equation)


MULTIPLY_ADDS[_forward.name] = _multiply_adds
MULTIPLY_ADDS[_tangent.name] = _tangent_multiply_adds
MULTIPLY_ADDS[_backward.name] = _backward_multiply_adds
MULTIPLY_ADDS[_second.name] = _second_multiply_adds
ad.primitive_jvps[_forward] = _forward_jvp
ad.primitive_jvps[_tangent] = functools.partial(_definition_jvp, _tangent_definition)
ad.primitive_jvps[_backward] = _backward_jvp
ad.primitive_jvps[_second] = functools.partial(_definition_jvp, _second_definition)
ad.primitive_transposes[_tangent] = _tangent_transpose
ad.primitive_transposes[_second] = _second_transpose
