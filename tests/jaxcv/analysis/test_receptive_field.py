"""Receptive fields against closed forms, gradients, and what a NaN in the image spoils."""

import functools
import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxcv import functional
from jaxcv.analysis import (
    Window,
    chain_receptive_field,
    effective_receptive_field,
    receptive_field,
)
from jaxcv.blocks import FactorizedReduce
from jaxcv.genotype import published
from jaxcv.models import CIFAR, CellNetwork, create_model


def image(size, channels=1):
    return jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)


def random_windows(rng):
    """A chain of 1 to 4 layers, each with its own numbers for height and width."""

    def pair(low, high):
        return tuple(map(int, rng.integers(low, high, 2)))

    return [
        Window(pair(1, 5), pair(1, 4), pair(0, 3), pair(1, 4)) for _ in range(rng.integers(1, 5))
    ]


def chain(x, windows):
    """Convolutions with positive kernels, so that nothing cancels."""
    for size, *how in windows:
        stride, padding, dilation = how
        kernel = jnp.ones((*size, 1, 1), x.dtype)
        x = functional.conv2d(x, kernel, stride=stride, padding=padding, dilation=dilation)
    return x


@pytest.mark.parametrize("seed", range(24))
def test_chains_against_the_closed_form_and_the_gradient(seed):
    windows = random_windows(np.random.default_rng(seed))
    field = chain_receptive_field(windows)
    for axis in range(2):
        size, jump, start = 1, 1, 0.0
        for window, stride, padding, dilation in (
            [value[axis] for value in each] for each in windows
        ):
            reach = dilation * (window - 1)
            size, start = size + reach * jump, start + (reach / 2 - padding) * jump
            jump *= stride
        assert (field.size[axis], field.jump[axis], field.centre[axis]) == (size, jump, start)

    shape = tuple(s + 3 * j + 5 for s, j in zip(field.size, field.jump, strict=True))
    x = jnp.ones((1, *shape, 1))
    traced = receptive_field(functools.partial(chain, windows=windows), x)
    assert traced == field

    @jax.jit
    def support(x, i, j):
        return effective_receptive_field(functools.partial(chain, windows=windows), x, (i, j))

    height, width = jax.eval_shape(functools.partial(chain, windows=windows), x).shape[1:3]
    inside = 0
    for i, j in itertools.product((0, height // 2, height - 1), (0, width // 2, width - 1)):
        box, seen = field.box(i, j), np.nonzero(np.asarray(support(x, i, j)))
        assert all(set(found) <= set(pixels) for pixels, found in zip(box, seen, strict=True))
        if all(p.start >= 0 and p.stop <= length for p, length in zip(box, shape, strict=True)):
            inside += 1
            assert box == tuple(range(found.min(), found.max() + 1) for found in seen)
    assert inside


def spoiled(function, size, channels, probe):
    """For each axis, by pixel and by feature: whether a row (a column) of pixels that are the probe
    changes anything in a row (a column) of features."""
    base = 0.0 if probe == 1 else 0.5
    stripes = np.full((2 * size, size, size, channels), base, np.float32)
    for at in range(size):
        stripes[at, at] = stripes[size + at, :, at] = probe
    y = np.asarray(jax.jit(function)(stripes))
    hit = y != 0 if probe == 1 else np.isnan(y)
    return hit[:size].any((2, 3)), hit[size:].any((1, 3))


def check(function, size=16, channels=1, probe=math.nan):
    """Boxes hold all that features read, and no more where the image's border is far away."""
    field = receptive_field(function, image(size, channels))
    for reach, hits in zip(field, spoiled(function, size, channels, probe), strict=True):
        inside = 0
        for feature in range(hits.shape[1]):
            pixels, found = reach.pixels(feature), np.flatnonzero(hits[:, feature])
            assert set(found) <= set(pixels)
            if pixels.start >= 0 and pixels.stop <= size and pixels:
                inside += 1
                assert pixels == range(found.min(), found.max() + 1)
            elif not pixels:
                inside += 1
        assert inside
    return field


def convolve(x, size, **how):
    kernel = jnp.ones((size, size, x.shape[-1], x.shape[-1]), x.dtype)
    return functional.conv2d(x, kernel, **how)


def lax_convolution(x, size, numbers=("NHWC", "HWIO", "NHWC"), **how):
    kernel = jnp.ones((size, size, 1, 1)) if numbers[1] == "HWIO" else jnp.ones((1, 1, size, size))
    how = {"window_strides": (1, 1), "padding": "SAME"} | how
    return lax.conv_general_dilated(x, kernel, dimension_numbers=numbers, **how)


def inception(x):
    return jnp.concatenate(
        [
            convolve(x, 1),
            convolve(x, 3, padding=1),
            convolve(convolve(x, 1), 5, padding=2),
            functional.max_pool2d(x, 3, stride=1, padding=1),
        ],
        -1,
    )


def reduction(x):
    wide = convolve(convolve(x, 3, padding=1), 3, stride=2, padding=1)
    return jnp.concatenate([wide, functional.max_pool2d(x, 3, stride=2, padding=1)], -1)


def in_a_loop(x):
    def turn(x, weight):
        return weight * convolve(x, 3, padding=1), x.sum(-1)

    return lax.scan(turn, x, jnp.ones(3))[0]


def from_each_turn(x):
    def turn(x, _):
        x = jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
        return x, x

    return lax.scan(turn, x, length=3)[1].sum(0)


def by_a_condition(x):
    return lax.cond(
        jnp.ones(()) > 0,
        lambda x: convolve(x, 5, padding=2),
        lambda x: convolve(x, 3, padding=1),
        x,
    )


def wrapped(x):
    x = jax.jit(functools.partial(convolve, size=3))(x)
    x = jax.checkpoint(lambda x: convolve(jax.nn.gelu(x), 3, dilation=2))(x)
    return jax.nn.relu(x)


def normalized(x):
    x = convolve(x, 3)
    x = (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1)
    return jax.nn.softmax(jnp.einsum("nhwc,cd->nhwd", x, jnp.ones((x.shape[-1], 3))))


def shuffled_channels(x):
    x = jnp.concatenate([x, convolve(x, 3, padding=1)], -1)
    x = x.reshape(*x.shape[:3], 2, -1).swapaxes(3, 4).reshape(x.shape)
    return x[..., jnp.array([1, 0])]


def flat_and_back(x):
    n, height, width, channels = convolve(x, 3).shape
    y = convolve(x, 3).reshape(n, height * width, channels) @ jnp.ones((channels, 4))
    return convolve(y.reshape(n, height, width, 4), 3)


def space_to_depth(x):
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return convolve(x.reshape(n, height // 2, width // 2, -1), 3, padding=1)


def depth_to_space(x):
    x = jnp.concatenate([convolve(x, 3, stride=2, padding=1)] * 4, -1)
    n, height, width, _ = x.shape
    x = x.reshape(n, height, width, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, 2 * height, 2 * width, 1)


def turned(x):
    x = convolve(x[:, ::-1], 3, stride=2, padding=1)[:, ::-1]
    return convolve(x.swapaxes(1, 2), 2).swapaxes(1, 2)


def cut_and_padded(x):
    x = convolve(x, 3, padding=1)[:, 1:-1, :-2:2]
    x = jnp.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0)))
    _, bottom = jnp.split(x, [4], axis=1)
    return lax.dynamic_slice_in_dim(bottom, 1, 5, 1)


def upsampled(x):
    x = convolve(x, 3, padding=1)
    x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
    return convolve(x, 3, padding=1)


def encoder_and_decoder(x):
    y = functional.avg_pool2d(convolve(x, 3, padding=1), 2)
    y = convolve(y, 3, padding=1)
    return jnp.concatenate([x, jnp.repeat(jnp.repeat(y, 2, 1), 2, 2)], -1)


def transposed(x, size, stride, padding):
    """The transpose of a convolution to fewer pixels."""
    wide = (x.shape[1] - 1) * stride + size - 2 * padding

    def forward(big):
        return convolve(big, size, stride=stride, padding=padding)

    shape = jax.ShapeDtypeStruct((x.shape[0], wide, wide, x.shape[-1]), x.dtype)
    return jax.linear_transpose(forward, shape)(x)[0]


def spread_pool(x):
    shape = jax.ShapeDtypeStruct((x.shape[0], 33, 33, 1), x.dtype)
    pool = functools.partial(functional.avg_pool2d, window=3, stride=2)
    return jax.linear_transpose(pool, shape)(x)[0]


def gradient_of_max(x):
    pool = functools.partial(functional.max_pool2d, window=2)
    return jax.vjp(pool, jnp.zeros_like(x))[1](functional.avg_pool2d(x, 2))[0]


NORMAL = {
    "inception": inception,
    "reduction": reduction,
    "scan": in_a_loop,
    "scan's turns": from_each_turn,
    "cond": by_a_condition,
    "calls": wrapped,
    "normalized": normalized,
    "shuffled channels": shuffled_channels,
    "flat and back": flat_and_back,
    "space to depth": space_to_depth,
    "depth to space": depth_to_space,
    "turned": turned,
    "max pool": lambda x: functional.max_pool2d(x, (3, 2), stride=(2, 1), padding=(1, 0)),
    "lax": lambda x: lax_convolution(x, 3, rhs_dilation=(2, 1), window_strides=(1, 2)),
    "lax transposed": lambda x: lax_convolution(
        x, 2, lhs_dilation=(3, 2), padding=((1, 1), (1, 0))
    ),
    "lax NCHW": lambda x: lax_convolution(
        x.transpose(0, 3, 1, 2), 3, ("NCHW", "OIHW", "NHWC"), padding="VALID"
    ),
    "lax pools": lambda x: lax.reduce_window(
        lax.reduce_window(x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 2, 1), "SAME"),
        -jnp.inf,
        lax.max,
        (1, 2, 2, 1),
        (1, 1, 1, 1),
        "VALID",
    ),
    "upsampled": upsampled,
    "encoder and decoder": encoder_and_decoder,
    "nearest": lambda x: jax.image.resize(convolve(x, 3), (x.shape[0], 28, 28, 1), "nearest"),
    "nearest to fewer": lambda x: jax.image.resize(x, (x.shape[0], 10, 6, 1), "nearest"),
    "transposed 4, 2, 1": functools.partial(transposed, size=4, stride=2, padding=1),
    "transposed 3, 2, 0": functools.partial(transposed, size=3, stride=2, padding=0),
    "transposed 1, 3, 0": functools.partial(transposed, size=1, stride=3, padding=0),
    "bed of nails": lambda x: lax.pad(
        convolve(x, 3), 0.0, ((0, 0, 0), (0, 1, 1), (1, 0, 1), (0, 0, 0))
    ),
    "spread pool": spread_pool,
    "zeros above": lambda x: convolve(jnp.concatenate([jnp.zeros_like(x[:, :2]), x], 1)[:, 1:], 3),
    "a row for all": lambda x: jnp.broadcast_to(x[:, 3:4], x.shape),
    "stacked": lambda x: jnp.stack([x, convolve(x, 3, padding=1)], 1).sum(1),
}


@pytest.mark.parametrize("name", NORMAL)
def test_operations_against_what_a_nan_spoils(name):
    check(NORMAL[name])


@pytest.mark.parametrize("sizes", [(16, 32), (16, 24), (16, 8), (12, 30)])
def test_bilinear_against_what_a_pixel_reaches(sizes):
    size, result = sizes
    # Without the filter that jax.image would widen for fewer pixels.
    field = check(
        lambda x: jax.image.resize(x, (x.shape[0], result, result, 1), "bilinear", antialias=False),
        size,
        probe=1,
    )
    ours = check(lambda x: functional.upsample_bilinear(x, size=result), size, probe=1)
    assert ours == field
    assert field.jump == (Fraction(size, result), Fraction(size, result))
    assert max(field.size) == 2


def test_a_position_outside_the_map_is_refused():
    with pytest.raises(ValueError, match=r"position=\(6, 0\); allowed is one within .*\(6, 6\)"):
        effective_receptive_field(lambda x: x, jnp.ones((1, 6, 6, 1)), (6, 0))


def test_the_transpose_of_max_pooling_reads_its_windows():
    field = receptive_field(gradient_of_max, image(16))
    assert field.box(2, 3) == (range(2, 4), range(2, 4))

    def places(x):
        pool = functools.partial(functional.max_pool2d, window=2, stride=1)
        return jax.vjp(pool, x)[1](jnp.ones_like(pool(x)))[0]

    # Which pixel of a window is the largest depends on the others.
    assert receptive_field(places, image(16)).box(2, 3) == (range(1, 4), range(2, 5))


def test_cropping_and_padding():
    field = receptive_field(cut_and_padded, image(16))
    # Rows: cut 1, padded 1, split at 4, sliced from 1; columns: every second one.
    assert field.box(0, 0) == (range(4, 7), range(-1, 2))
    assert field.jump == (1, 2)


def test_dilated_branches_leave_holes_and_the_box_is_the_smallest():
    def function(x):
        return convolve(x, 3, dilation=4, padding=4) + convolve(x, 3, dilation=3, padding=3)

    field = receptive_field(function, image(21))
    assert (field.size, field.jump, field.centre) == ((9, 9), (1, 1), (0.0, 0.0))
    x = jnp.ones((1, 21, 21, 1))
    rows, columns = np.nonzero(np.asarray(effective_receptive_field(function, x, (10, 10))))
    assert set(rows) == set(columns) == {6, 7, 10, 13, 14}
    assert field.box(10, 10) == (range(6, 15), range(6, 15))


def test_a_factorized_reduction_sees_every_pixel():
    reduce = FactorizedReduce(2, 4, rngs=nnx.Rngs(0))
    field = check(reduce, channels=2)
    assert (field.size, field.jump, field.centre) == ((2, 2), (2, 2), (0.5, 0.5))


EVERYTHING = {
    "global pool": lambda x: functional.global_avg_pool2d(x),
    "classifier": lambda x: x.reshape(x.shape[0], -1) @ jnp.ones((x[0].size, 5)),
    "squeeze and excitation": lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True)),
    "batch norm in training": lambda x: functional.batch_norm(x, train=True)[0],
    "token mixing": lambda x: jnp.einsum("nhwc,hi,wj->nijc", x, *np.ones((2, 12, 12))),
    "kernel's gradient": lambda x: jax.grad(
        lambda kernel: functional.conv2d(x, kernel, padding=1).sum()
    )(jnp.ones((3, 3, 1, 1))),
    "as a kernel": lambda x: functional.conv2d(jnp.ones((1, 20, 20, 1)), x.transpose(1, 2, 3, 0)),
    "mean with nails": lambda x: lax.pad(x, 0.0, ((0, 0, 0), (1, 1, 1), (1, 1, 1), (0, 0, 0))).mean(
        (1, 2)
    ),
    "cumulative sums": lambda x: jnp.cumsum(jnp.cumsum(x, 1), 2),
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_what_mixes_the_image_reads_all_of_it(name):
    field = receptive_field(EVERYTHING[name], image(12))
    assert field.box(0, 0) == field.box(3, 7) == (range(12), range(12))
    assert (field.size, field.jump, field.centre) == ((12, 12), (0, 0), (5.5, 5.5))


def test_attention_reads_the_image():
    def attention(x):
        n, height, width, channels = x.shape
        x = x.reshape(n, height * width, channels)
        weights = jax.nn.softmax(jnp.einsum("nqc,nkc->nqk", x, x))
        return jnp.einsum("nqk,nkc->nqc", weights, x).reshape(n, height, width, channels)

    assert receptive_field(attention, image(6, 4)).size == (6, 6)


@pytest.mark.parametrize(
    ("name", "depths", "windows", "size"),
    [("resnet18", (2, 2, 2, 2), 2, 435), ("resnet50", (3, 4, 6, 3), 1, 427)],
)
def test_residual_networks_see_what_their_longest_path_sees(name, depths, windows, size):
    # Made within the trace: nothing is computed.
    fields = receptive_field(
        lambda x: create_model(name, 10, rngs=nnx.Rngs(0)).features(
            x, ("stage1", "stage2", "stage3", "stage4")
        ),
        image(224, 3),
    )
    path = [Window(7, 2, 3), Window(3, 2, 1)]
    for stage, depth in enumerate(depths, 1):
        for block in range(depth):
            stride = 2 if stage > 1 and not block else 1
            path += [Window(3, stride, 1), *[Window(3, 1, 1)] * (windows - 1)]
        assert fields[f"stage{stage}"] == chain_receptive_field(path)
    assert fields["stage4"].size == (size, size)


def test_the_network_of_a_genotype():
    model = CellNetwork(published["DARTS_V2"], CIFAR, 2, 3, 10, rngs=nnx.Rngs(0))

    def cells(x, number):
        before, last = model.stem(x)
        for cell in model.cells[:number]:
            y = cell(before, last, train=False, key=None, drop_path=0.0)
            before, last = last, y
        return last

    field = check(functools.partial(cells, number=1), 24, 3)
    assert field.jump == (1, 1)
    third = receptive_field(functools.partial(cells, number=3), image(64, 3))
    assert third.jump == (4, 4)
    assert min(third.size) > min(field.size)
    rows, columns = receptive_field(model, image(32, 3)).box(0, 0)
    assert set(range(32)) <= set(rows) & set(columns)


def test_fields_of_feature_maps_that_upsampling_makes():
    nearest = receptive_field(lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), image(4))
    assert nearest.jump == (Fraction(1, 2), Fraction(1, 2))
    assert nearest.centre == (-0.25, -0.25)
    assert nearest.box(3, 0) == (range(1, 2), range(1))
    nails = receptive_field(
        lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 1, 1), (0, 1, 1), (0, 0, 0))), image(4)
    )
    assert nails.box(2, 1) == (range(1, 2), range(0))
    assert (nails.size, nails.centre) == ((1, 1), (0.0, 0.0))


def test_what_reads_nothing():
    field = receptive_field(jnp.zeros_like, image(4))
    assert field.box(1, 1) == (range(0), range(0))
    assert field.size == (0, 0)
    assert all(map(math.isnan, field.centre))


REFUSED = {
    "'sort'": lambda x: jnp.sort(x, 1),
    "'gather'": lambda x: x[:, x[0, 0, :, 0].astype(int)],
    "'while'": lambda x: lax.while_loop(lambda x: x.sum() > 0, lambda x: x - 1, x),
    "'add' on features that are 1 and 2 pixels": lambda x: x[:, ::2] + x[:, :8],
    "height in axis 2": lambda x: x.swapaxes(1, 2),
    r"\(1, 16, 16\)": lambda x: x.sum(-1),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    with pytest.raises(ValueError, match=message):
        receptive_field(REFUSED[message], image(16))


def test_bad_arguments():
    with pytest.raises(ValueError, match="x has shape"):
        receptive_field(lambda x: x, jnp.zeros((4, 4, 1)))
    with pytest.raises(ValueError, match="dilation=0"):
        chain_receptive_field([Window(3, dilation=0)])


def test_the_lecture():
    field = chain_receptive_field([(3, 2, 1), (3, 2, 1)])
    assert (field.size, field.jump, field.centre) == ((7, 7), (4, 4), (0.0, 0.0))
    assert field.box(1, 0) == (range(1, 8), range(-3, 4))
    assert repr(field) == "ReceptiveField(size=(7, 7), jump=(4, 4), centre=(0.0, 0.0))"
