"""The mixed operation of all edges that leave one state, with a backward pass of its own.

Its definition is plain JAX, and holds on every platform. Of what the forward pass computes only the
results of convolutions are kept; the backward pass computes again what lies between two of them,
which is cheap, so that a search needs a third of the memory. On the CPU both passes are C++
(``native/mixed.cc``), where a compiler was found.

The forward pass is a primitive; so are its tangent, which is linear, and the tangent's transpose,
which is the backward pass. Derivatives of the last two are those of the definition: derivatives of
any order, forward and reverse, agree with it.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcv import functional
from jaxcv.analysis import MULTIPLY_ADDS
from jaxcv.functional import native
from jaxcv.functional._convolution import Geometry, flat


class Stage(NamedTuple):
    """ReLU, depthwise convolution, pointwise convolution, batch norm: the static part."""

    stride: int
    padding: int
    dilation: int


class Static(NamedTuple):
    """What is known of a call before it is compiled.

    Attributes:
        edges: number of edges E.
        normalized: of each shared term, whether it goes through a batch norm.
        branches: the stages of each branch.
    """

    edges: int
    normalized: tuple[bool, ...]
    branches: tuple[tuple[Stage, ...], ...]

    @property
    def stages(self) -> int:
        return sum(map(len, self.branches))


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
        return _definition(static, arguments)[0]
    outputs = _forward.bind(*(a[None] for a in arguments), static=static)
    return [y[0] for y in outputs[: static.edges]]


@jax.custom_jvp
def _known(computed: jax.Array, known: jax.Array) -> jax.Array:
    """A value that need not be computed again, with the derivatives of the computation."""
    return known


_known.defjvp(lambda primals, tangents: (primals[1], tangents[0]))


def _definition(
    static: Static, arguments: Sequence[jax.Array], known: Sequence[jax.Array] | None = None
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The edges' results, and those of all pointwise convolutions [E, batch, height, width, C].

    Args:
        static: of the call.
        arguments: of the primitive, for one search.
        known: the second result, if it has been computed before.
    """
    x, mix, *rest = arguments
    mix = mix.astype(x.dtype)
    number = len(static.normalized)

    def edge(mix: jax.Array, kernels: list[jax.Array], known: Any) -> tuple[jax.Array, Any]:
        total = jnp.zeros((), x.dtype)
        results: list[jax.Array] = []
        remaining = iter(kernels)
        for branch, weight in zip(static.branches, mix[number:], strict=True):
            state = x
            for stride, padding, dilation in branch:
                y = functional.depthwise_conv2d(
                    jax.nn.relu(state),
                    next(remaining),
                    stride=stride,
                    padding=padding,
                    dilation=dilation,
                )
                y = functional.pointwise_conv2d(y, next(remaining))
                if known is not None:
                    y = _known(y, known[len(results)])
                results.append(y)
                state, _ = functional.batch_norm(y)
            total = total + weight * state
        return total, results

    branches, results = jax.vmap(edge)(mix, rest[number:], known)
    terms = [
        functional.batch_norm(term)[0] if normalized else term
        for term, normalized in zip(rest[:number], static.normalized, strict=True)
    ]
    edges = [
        sum((weight * term for weight, term in zip(mix[e], terms)), branches[e])  # noqa: B905
        for e in range(static.edges)
    ]
    return edges, results


# The primitives. Every array has a leading axis of searches; arguments are x, mix, shared, kernels.


def _forward_definition(*arguments: jax.Array, static: Static) -> list[jax.Array]:
    """The edges' results, the convolutions' results, and the batch norms' moments (which only the
    C++ form fills)."""
    edges, results = jax.vmap(functools.partial(_definition, static))(arguments)
    return [*edges, *results, jnp.zeros(_moments_shape(arguments[0], static))]


def _moments_shape(x: Any, static: Static) -> tuple[int, ...]:
    count = len(static.normalized) + static.stages * static.edges
    return (x.shape[0], count, 2, x.shape[-1])


def _split(arguments: Sequence[Any], static: Static) -> tuple[list[Any], list[Any], list[Any]]:
    """Arguments of the primitive, what the forward pass kept, and the rest."""
    first = 2 + len(static.normalized) + 2 * static.stages
    second = first + static.stages + 1
    return list(arguments[:first]), list(arguments[first:second]), list(arguments[second:])


def _tangent_definition(
    *arguments: jax.Array, static: Static, given: tuple[bool, ...]
) -> list[jax.Array]:
    primals, _, tangents = _split(arguments, static)
    remaining = iter(tangents)
    all_tangents = [
        next(remaining) if is_given else jnp.zeros_like(primal)
        for primal, is_given in zip(primals, given, strict=True)
    ]

    def edges(arguments: list[jax.Array]) -> list[jax.Array]:
        return jax.vmap(lambda a: _definition(static, a)[0])(arguments)

    return jax.jvp(edges, (primals,), (all_tangents,))[1]


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
        return jax.vmap(lambda a, known: _definition(static, a, known)[0])(arguments, known)

    _, transposed = jax.vjp(edges, primals if weights else primals[:first])
    return [*transposed(gradients)[0], *map(jnp.zeros_like, _scratch(saved, static))]


def _scratch(saved: Sequence[Any], static: Static) -> list[Any]:
    """For each branch of several stages, an array like the results of its convolutions."""
    starts = np.cumsum([0, *map(len, static.branches)])
    return [
        saved[start]
        for start, branch in zip(starts, static.branches)  # noqa: B905
        if len(branch) > 1
    ]


def _like(x: Any) -> jax.core.ShapedArray:
    return jax.core.ShapedArray(x.shape, x.dtype)


def _forward_shapes(*arguments: Any, static: Static) -> list[jax.core.ShapedArray]:
    x = arguments[0]
    height, width = _windows(arguments, static)[0].result
    result = (x.shape[0], x.shape[1], height, width, x.shape[-1])
    kept = (x.shape[0], static.edges, *result[1:])
    return [
        *(jax.core.ShapedArray(result, x.dtype) for _ in range(static.edges)),
        *(jax.core.ShapedArray(kept, x.dtype) for _ in range(static.stages)),
        jax.core.ShapedArray(_moments_shape(x, static), jnp.float32),
    ]


def _tangent_shapes(*arguments: Any, static: Static, given: Any) -> list[jax.core.ShapedArray]:
    primals, _, _ = _split(arguments, static)
    return _forward_shapes(*primals, static=static)[: static.edges]


def _backward_shapes(*arguments: Any, static: Static, weights: bool) -> list[Any]:
    primals, saved, _ = _split(arguments, static)
    first = len(primals) if weights else len(primals) - 2 * static.stages
    return [*map(_like, primals[:first]), *map(_like, _scratch(saved, static))]


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
            numbers += [branch, depth, depth + 1 == len(stages), *flat(next(windows))]
    return np.array(numbers, np.int64)


def _on_cpu(name: str, definition: Any, shapes: Any) -> Any:
    def lowered(*arguments: jax.Array, **static: Any) -> list[jax.Array]:
        if arguments[0].dtype not in (jnp.float32, jnp.bfloat16) or not native.load(
            Path(__file__).parent / "native" / "mixed.cc",
            "jaxcv_mixed_forward",
            "jaxcv_mixed_backward",
        ):
            return definition(*arguments, **static)
        results = [
            jax.ShapeDtypeStruct(shape.shape, shape.dtype) for shape in shapes(*arguments, **static)
        ]
        numbers = _numbers(arguments, static.pop("static"))
        return list(jax.ffi.ffi_call(name, results)(*arguments, numbers=numbers, **static))

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


def _primitive(name: str, definition: Any, shapes: Any, native_name: str | None) -> Primitive:
    primitive = Primitive(name)
    primitive.multiple_results = True

    @functools.cache
    def compiled(static: tuple[tuple[str, Any], ...]) -> Any:
        return jax.jit(functools.partial(primitive.bind, **dict(static)))

    primitive.def_impl(lambda *arguments, **static: compiled(tuple(static.items()))(*arguments))
    primitive.def_abstract_eval(shapes)
    batching.primitive_batchers[primitive] = functools.partial(_batch, primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(definition, multiple_results=True))
    if native_name is not None:
        form = _on_cpu(native_name, definition, shapes)
        native.register_lowering(primitive, form, definition)
    return primitive


_forward = _primitive(
    "jaxcv_mixed_forward", _forward_definition, _forward_shapes, "jaxcv_mixed_forward"
)
_tangent = _primitive("jaxcv_mixed_tangent", _tangent_definition, _tangent_shapes, None)
_backward = _primitive(
    "jaxcv_mixed_backward", _backward_definition, _backward_shapes, "jaxcv_mixed_backward"
)


def _forward_jvp(
    primals: Sequence[jax.Array], tangents: Sequence[Any], *, static: Static
) -> tuple[list[jax.Array], list[Any]]:
    outputs = _forward.bind(*primals, static=static)
    kept = outputs[static.edges :]
    given = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)
    moved = _tangent.bind(
        *primals,
        *kept,
        *(tangent for tangent, is_given in zip(tangents, given, strict=True) if is_given),
        static=static,
        given=given,
    )
    # Nobody but the backward pass reads what was kept, and its derivatives do not rest on it.
    return outputs, [*moved, *(ad.Zero(jax.typeof(array)) for array in kept)]


def _tangent_transpose(
    cotangents: Sequence[Any], *arguments: Any, static: Static, given: tuple[bool, ...]
) -> list[Any]:
    primals, kept, tangents = _split(arguments, static)
    first = len(primals) - 2 * static.stages
    gradients = _backward.bind(
        *primals,
        *kept,
        *map(ad.instantiate_zeros, cotangents),
        static=static,
        weights=any(given[first:]),
    )
    wanted = [number for number, is_given in enumerate(given) if is_given]
    return [None] * (len(primals) + len(kept)) + [
        gradients[number] if ad.is_undefined_primal(tangent) else None
        for number, tangent in zip(wanted, tangents, strict=True)
    ]


def _definition_jvp(
    function: Any, primals: Sequence[jax.Array], tangents: Sequence[Any], **static: Any
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Derivatives of the tangent and of the backward pass. They take what was kept as computed
    again, so that its dependence on the arguments counts."""
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


MULTIPLY_ADDS[_forward.name] = _multiply_adds
MULTIPLY_ADDS[_backward.name] = _backward_multiply_adds
ad.primitive_jvps[_forward] = _forward_jvp
ad.primitive_transposes[_tangent] = _tangent_transpose
ad.primitive_jvps[_tangent] = functools.partial(_definition_jvp, _tangent_definition)
ad.primitive_jvps[_backward] = functools.partial(
    _definition_jvp, functools.partial(_backward_definition, kept=False)
)
