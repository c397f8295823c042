"""Networks of Inception blocks against PyTorch, in float64, under the same weights.

Shortened ones, with every kind of block, are trained; whole ones are called, in training and in
evaluation, since the gradients of a deep network compile for long.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcv.models import InceptionNetwork, create_model
from jaxcv.models.googlenet import BN_NAMES, GOOGLENET_HEADS, NAMES, googlenet_stages
from jaxcv.models.inception_resnet import V1_NAMES, V2_NAMES
from jaxcv.models.inception_v3 import V3_NAMES, V3_STAGES, InceptionV3Head
from jaxcv.models.inception_v4 import v4_names

torch = pytest.importorskip("torch")

import torch_inception  # noqa: E402
import torch_inception_v4  # noqa: E402
import torch_parity  # noqa: E402
import torch_weights  # noqa: E402


def test_the_beginning_of_googlenet():
    stages = googlenet_stages(5)
    names = [*stages][: [*stages].index("inception_4a") + 1]
    make = functools.partial(
        InceptionNetwork,
        {name: stages[name] for name in names},
        heads={"inception_4a": GOOGLENET_HEADS["inception_4a"]},
    )
    theirs = torch_inception.GoogLeNet(torch_parity.CLASSES, 2, blocks=3, heads=1, window=5)
    torch_parity.compare(make, theirs, NAMES, (2, 65, 78, 2), ("logits", "auxiliary1"))


def test_every_kind_of_block_of_inception_v3_and_its_head():
    names = ("mixed_5b", "mixed_6a", "mixed_6b", "mixed_7a", "mixed_7b")
    make = functools.partial(
        InceptionNetwork,
        {name: V3_STAGES[name] for name in names},
        # Where the images are still large enough for it.
        heads={"mixed_5b": ("auxiliary", InceptionV3Head)},
    )
    theirs = torch_inception.InceptionV3(
        torch_parity.CLASSES,
        3,
        head_after="Mixed_5b",
        only=[name.capitalize() for name in names],
    )
    torch_parity.compare(make, theirs, V3_NAMES, (2, 17, 20, 3), ("logits", "auxiliary"))


@pytest.mark.parametrize(
    ("name", "theirs", "names"),
    [
        ("inception_v4", torch_inception_v4.InceptionV4, v4_names((1, 1, 1))),
        ("inception_resnet_v1", torch_inception_v4.InceptionResNetV1, V1_NAMES),
    ],
)
def test_networks_with_one_block_of_each_kind(name, theirs, names):
    torch_parity.compare(
        functools.partial(create_model, name, repeats=(1, 1, 1)),
        theirs(torch_parity.CLASSES, 2, repeats=(1, 1, 1)),
        names,
        (2, 75, 91, 2),
    )


@pytest.mark.parametrize(
    ("name", "options", "theirs", "names", "shape", "heads"),
    [
        (
            "googlenet",
            {"auxiliary": True},
            torch_inception.GoogLeNet,
            NAMES,
            (2, 33, 46, 2),
            ("logits", "auxiliary1", "auxiliary2"),
        ),
        # Odd sizes do not fit theirs.
        ("bn_inception", {}, torch_inception.BNInception, BN_NAMES, (2, 64, 96, 2), ("logits",)),
        ("inception_v3", {}, torch_inception.InceptionV3, V3_NAMES, (2, 75, 91, 2), ("logits",)),
        (
            "inception_resnet_v2",
            {"repeats": (1, 2, 1)},
            functools.partial(torch_inception_v4.InceptionResNetV2, repeats=(1, 2, 1)),
            V2_NAMES,
            (2, 75, 91, 2),
            ("logits",),
        ),
    ],
)
def test_calls_of_networks(name, options, theirs, names, shape, heads):
    with jax.enable_x64(True):
        torch.manual_seed(0)
        theirs = theirs(torch_parity.CLASSES, shape[-1]).double()
        torch_weights.randomize(theirs, seed=1)
        ours = nnx.eval_shape(
            lambda: create_model(
                name,
                torch_parity.CLASSES,
                inputs=shape[-1],
                dtype=jnp.float64,
                rngs=nnx.Rngs(0),
                **options,
            )
        )
        torch_parity.same_names(ours, theirs, names)
        graph, _ = nnx.split(ours)
        weights = torch_parity.tree(ours, theirs, names)
        statistics = torch_parity.tree(ours, theirs, names, nnx.BatchStat)
        x = np.random.default_rng(0).normal(size=shape)

        @torch_weights.quick_jit
        def run(weights, statistics, x):
            network = nnx.merge(graph, weights, statistics)
            found = network.features(x, heads, train=True)
            moved = nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))
            return found, moved, nnx.merge(graph, weights, moved).features(x, heads)

        found, moved, evaluated = run(weights, statistics, jnp.asarray(x))
        for ours_found, train in ((found, True), (evaluated, False)):
            with torch.no_grad():
                expected = theirs.train(train)(torch_weights.to_torch(x))
            expected = expected if isinstance(expected, tuple) else (expected,)
            by_name = {head: each.numpy() for head, each in zip(heads, expected, strict=True)}
            torch_weights.close(ours_found, by_name)
        torch_weights.close(moved, torch_parity.tree(ours, theirs, names, nnx.BatchStat))


@pytest.mark.parametrize(
    ("name", "options", "theirs", "names"),
    [
        ("inception_v3", {"auxiliary": True}, torch_inception.InceptionV3, V3_NAMES),
        ("inception_v4", {}, torch_inception_v4.InceptionV4, v4_names()),
        ("inception_resnet_v1", {}, torch_inception_v4.InceptionResNetV1, V1_NAMES),
        ("inception_resnet_v2", {}, torch_inception_v4.InceptionResNetV2, V2_NAMES),
    ],
)
def test_names_of_the_published_variables(name, options, theirs, names):
    more = {"head_after": "Mixed_6e"} if options else {}
    with torch.device("meta"):
        theirs = theirs(torch_parity.CLASSES, **more)
    ours = nnx.eval_shape(
        lambda: create_model(name, torch_parity.CLASSES, rngs=nnx.Rngs(0), **options)
    )
    torch_parity.same_names(ours, theirs, names)
