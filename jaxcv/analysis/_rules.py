"""For each primitive, what the entries of its result read of one operand."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from jaxcv.analysis._reach import Reach, hull
from jaxcv.functional._resampling import resampling_matrices


class Place(NamedTuple):
    """Where the positions along an axis of the image are in an array.

    Attributes:
        dim: the array's axis with the positions; index i there is position ``i % size``.
        size: number of positions; less than the length of the array's axis where a reshape has
            merged other axes into the upper digits of its index.
        reach: what each position reads.
    """

    dim: int
    size: int
    reach: Reach


# What the entries of an array read along an axis of the image: by their position, or all the same.
Reading = Place | range


class Use(NamedTuple):
    """An operand of an equation, and one of the results.

    Attributes:
        equation: of the jaxpr.
        operand, result: their numbers.
        constant: gives the value of an operand, by its number; none if it depends on the image.
    """

    equation: Any
    operand: int
    result: int
    constant: Callable[[int], np.ndarray | None]

    @property
    def params(self) -> Any:
        return self.equation.params

    @property
    def source(self) -> tuple[int, ...]:
        return self.shape(self.operand)

    @property
    def target(self) -> tuple[int, ...]:
        return tuple(self.equation.outvars[self.result].aval.shape)

    def shape(self, operand: int) -> tuple[int, ...]:
        return tuple(self.equation.invars[operand].aval.shape)


def unknown(name: str) -> ValueError:
    return ValueError(
        f"function has the operation {name!r} on what depends on x, and which pixels that reads is "
        "not known; allowed are windows, products, reductions, element-wise operations, and "
        "indices that do not depend on x"
    )


def everything(place: Place) -> range:
    """All that any position reads."""
    # What a phase reads moves steadily, so the first and the last turn go farthest.
    ends = min(len(place.reach.phases), place.size)
    positions = (*range(ends), *range(place.size - ends, place.size))
    return hull(map(place.reach.pixels, positions))


class Slide(NamedTuple):
    """Entry i reads the entries j with ``spread j = stride i + dilation k + offset``, k below
    ``size``."""

    size: int = 1
    stride: int = 1
    offset: int = 0
    dilation: int = 1
    spread: int = 1


def _slid(place: Place, use: Use, dim: int, *slides: Slide) -> Reading:
    """What is read through windows one after the other, in axis ``dim`` of the result."""
    length = use.source[place.dim]
    if all(slide == Slide() for slide in slides) and use.target[dim] == length:
        return place._replace(dim=dim)
    if place.size != length:
        return everything(place)
    reach = place.reach
    for slide in slides:
        reach = reach.window(*slide)
    return Place(dim, use.target[dim], reach)


def _unchanged(place: Place, use: Use) -> Reading:
    return place


def _each_its_own(place: Place, use: Use) -> Reading:
    return place if use.operand == use.result else range(0)


def _over(axes: str) -> Callable[[Place, Use], Reading]:
    """Reads all along the axes that a parameter names, and has them no more."""

    def rule(place: Place, use: Use) -> Reading:
        gone = use.params[axes]
        if place.dim in gone:
            return everything(place)
        return place._replace(dim=place.dim - sum(axis < place.dim for axis in gone))

    return rule


def _accumulate(place: Place, use: Use) -> Reading:
    return everything(place) if place.dim == use.params["axis"] else place


def _transpose(place: Place, use: Use) -> Reading:
    return place._replace(dim=use.params["permutation"].index(place.dim))


def _broadcast(place: Place, use: Use) -> Reading:
    dim = use.params["broadcast_dimensions"][place.dim]
    repeated = use.target[dim] != use.source[place.dim]
    return everything(place) if repeated else place._replace(dim=dim)


def _stack(place: Place, use: Use) -> Reading:
    return place._replace(dim=place.dim + (use.params["axis"] <= place.dim))


def _reshape(place: Place, use: Use) -> Reading:
    """Entries keep their order, so positions keep their place among the digits of its number."""
    if place.size == 1:
        return everything(place)
    step = math.prod(use.source[place.dim + 1 :])
    steps = [math.prod(use.target[dim + 1 :]) for dim in range(len(use.target))]
    for dim, (below, length) in enumerate(zip(steps, use.target, strict=True)):
        if step % below == 0 and below * length % (step * place.size) == 0:
            # The axes merged into the lower digits make no difference.
            merged = step // below
            return Place(dim, place.size * merged, place.reach.compose(1, [[0]] * merged))
    for dim, below in enumerate(steps):
        low, rest = divmod(below, step)
        if not rest and low < place.size and place.size % low == 0:
            high = place.size // low
            if use.target[dim] % high == 0:
                # Cut in two: the upper digits say where, each with all that the lower ones read.
                return Place(dim, high, place.reach.window(low, low))
    raise unknown("reshape")


def _slice(place: Place, use: Use) -> Reading:
    strides = use.params["strides"] or (1,) * len(use.source)
    start = use.params["start_indices"][place.dim]
    return _slid(place, use, place.dim, Slide(1, strides[place.dim], start))


def _split(place: Place, use: Use) -> Reading:
    along = place.dim == use.params["axis"]
    start = sum(map(int, use.params["sizes"][: use.result])) if along else 0
    return _slid(place, use, place.dim, Slide(offset=start))


def _dynamic_slice(place: Place, use: Use) -> Reading:
    start = 0
    if use.source[place.dim] != use.target[place.dim]:
        value = use.constant(1 + place.dim)
        if value is None:
            raise unknown("dynamic_slice")
        start = min(max(int(value), 0), use.source[place.dim] - use.target[place.dim])
    return _slid(place, use, place.dim, Slide(offset=start))


def _reverse(place: Place, use: Use) -> Reading:
    turned = place.dim in use.params["dimensions"]
    slide = Slide(1, -1, use.source[place.dim] - 1) if turned else Slide()
    return _slid(place, use, place.dim, slide)


def _pad(place: Place, use: Use) -> Reading:
    low, _, between = use.params["padding_config"][place.dim]
    return _slid(place, use, place.dim, Slide(offset=-low, spread=between + 1))


def _concatenate(place: Place, use: Use) -> Reading:
    before = 0
    if place.dim == use.params["dimension"]:
        before = sum(use.shape(operand)[place.dim] for operand in range(use.operand))
    return _slid(place, use, place.dim, Slide(offset=-before))


def _reduce_window(place: Place, use: Use) -> Reading:
    slide = Slide(
        use.params["window_dimensions"][place.dim],
        use.params["window_strides"][place.dim],
        -use.params["padding"][place.dim][0],
        use.params["window_dilation"][place.dim],
        use.params["base_dilation"][place.dim],
    )
    return _slid(place, use, place.dim, slide)


def _conv_general_dilated(place: Place, use: Use) -> Reading:
    images, kernel, result = use.params["dimension_numbers"]
    if use.operand == 1 or place.dim == images[1] or use.params["batch_group_count"] > 1:
        return everything(place)
    if place.dim == images[0]:
        return place._replace(dim=result[0])
    axis = images.index(place.dim) - 2
    slide = Slide(
        use.shape(1)[kernel[2 + axis]],
        use.params["window_strides"][axis],
        -use.params["padding"][axis][0],
        use.params["rhs_dilation"][axis],
        use.params["lhs_dilation"][axis],
    )
    return _slid(place, use, result[2 + axis], slide)


def _forward(geometry: Any, axis: int) -> Slide:
    low = geometry.padding[axis][0]
    return Slide(geometry.window[axis], geometry.stride[axis], -low, geometry.dilation[axis])


def _backward(geometry: Any, axis: int) -> Slide:
    """Of the transpose: an image's pixel reads the results whose windows hold it."""
    low = geometry.padding[axis][0]
    return Slide(geometry.window[axis], 1, low, -geometry.dilation[axis], geometry.stride[axis])


def _jaxcv_convolution(place: Place, use: Use) -> Reading:
    axis = place.dim - (len(use.source) - 3)
    if use.operand == 1 or use.params["to"] == "kernel" or axis == 2:
        return everything(place)
    if axis < 0:
        return place
    window = _forward if use.params["to"] == "result" else _backward
    return _slid(place, use, place.dim, window(use.params["geometry"], axis))


def _jaxcv_pool(place: Place, use: Use) -> Reading:
    axis, member, geometry = place.dim - 1, use.params["member"], use.params["geometry"]
    if axis not in (0, 1):
        return place
    windows = [_forward] if member in ("sum", "max", "pick") else [_backward]
    if member == "place" and use.operand == 0:
        # Where a gradient goes depends on all that its window holds.
        windows = [_forward, _backward]
    return _slid(place, use, place.dim, *(window(geometry, axis) for window in windows))


def _dot_general(place: Place, use: Use) -> Reading:
    summed, paired = use.params["dimension_numbers"]
    free = [
        [d for d in range(len(use.shape(n))) if d not in (*summed[n], *paired[n])] for n in range(2)
    ]
    first = len(paired[0]), len(paired[0]) + len(free[0])
    mine, other = use.operand, 1 - use.operand
    if place.dim in paired[mine]:
        return place._replace(dim=paired[mine].index(place.dim))
    if place.dim in free[mine]:
        return place._replace(dim=first[mine] + free[mine].index(place.dim))
    matrix = use.constant(other) if len(use.shape(other)) == 2 and len(free[other]) == 1 else None
    if matrix is None:
        return everything(place)
    return _multiplied(place, use, np.moveaxis(matrix, free[other][0], 0), first[other])


def _jaxcv_resample(place: Place, use: Use) -> Reading:
    if place.dim not in (1, 2):
        return place
    matrices = resampling_matrices(use.params["back"], use.params["resampling"])
    return _multiplied(place, use, matrices[place.dim - 1], place.dim)


def _multiplied(place: Place, use: Use, matrix: np.ndarray, dim: int) -> Reading:
    """A matrix of one row for each entry of the result."""
    used = matrix != 0
    start, stop = used.argmax(1), used.shape[1] - used[:, ::-1].argmax(1)
    return _picked(place, use, start, np.where(used.any(1), stop, start), dim)


def _gather(place: Place, use: Use) -> Reading:
    numbers, length = use.params["dimension_numbers"], use.source[place.dim]
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = [dim for dim in range(len(use.source)) if dim not in dropped]
    if use.operand == 0 and place.dim in kept and use.params["slice_sizes"][place.dim] == length:
        return place._replace(dim=numbers.offset_dims[kept.index(place.dim)])
    indices = use.constant(1) if use.operand == 0 else None
    if indices is None or indices.ndim != 2 or numbers.start_index_map != (place.dim,):
        raise unknown("gather")
    (dim,) = (dim for dim in range(len(use.target)) if dim not in numbers.offset_dims)
    start = np.clip(indices[:, 0], 0, length - 1)
    return _picked(place, use, start, start + 1, dim)


def _picked(place: Place, use: Use, start: np.ndarray, stop: np.ndarray, dim: int) -> Reading:
    """Entry i reads the entries from ``start[i]`` to ``stop[i]``. All are brought to one rule that
    repeats, such as that of an interpolation away from the borders."""
    length = use.source[place.dim]
    if place.size != length or (stop - start == length).any():
        return everything(place)
    ratio = Fraction(length, len(start))
    advance, period = ratio.numerator, ratio.denominator
    offsets = [
        hull(
            range(start[i] - advance * turn, stop[i] - advance * turn)
            for turn, i in enumerate(range(phase, len(start), period))
        )
        for phase in range(period)
    ]
    return Place(dim, len(start), place.reach.compose(advance, offsets))


_ELEMENTWISE = """
abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp
complex conj convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
floor ge gt igamma igammac imag integer_pow is_finite le lgamma log log1p log2 logistic lt max min
mul name ne neg nextafter not one_minus_square or pow real reduce_precision rem round rsqrt
select_n sharding_constraint sign sin sinh sqrt square stop_gradient sub tan tanh xor
"""

# By the name of a primitive. Who adds a primitive adds its rule.
RULES: dict[str, Callable[[Place, Use], Reading]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _unchanged),
    **dict.fromkeys(("device_put", "optimization_barrier"), _each_its_own),
    **dict.fromkeys(
        (
            "argmax",
            "argmin",
            *(f"reduce_{of}" for of in ("and", "max", "min", "or", "prod", "sum")),
        ),
        _over("axes"),
    ),
    **dict.fromkeys(("cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"), _accumulate),
    **dict.fromkeys(
        ("reduce_window_max", "reduce_window_min", "reduce_window_sum"), _reduce_window
    ),
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv_general_dilated,
    "dot_general": _dot_general,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "jaxcv_convolution": _jaxcv_convolution,
    "jaxcv_pool": _jaxcv_pool,
    "jaxcv_resample": _jaxcv_resample,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "split": _split,
    "squeeze": _over("dimensions"),
    "stack": _stack,
    # An index beyond the size is that of an earlier copy, as a place's index is.
    "tile": _unchanged,
    "transpose": _transpose,
}
