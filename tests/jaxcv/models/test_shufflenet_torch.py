"""ShuffleNets against PyTorch, in float64: logits, gradients, statistics, names."""

import functools

import pytest
from flax import nnx

from jaxcv.blocks import ShuffleUnitV2
from jaxcv.models import ShuffleNet, create_model
from jaxcv.models.shufflenet import NAMES

torch = pytest.importorskip("torch")

from torch_parity import CLASSES, compare, same_names  # noqa: E402
from torch_shufflenet import ShuffleNetV1, ShuffleNetV2  # noqa: E402


@pytest.mark.parametrize(("groups", "channels"), [(2, (200, 400, 800)), (3, (240, 480, 960))])
def test_version_1(groups, channels):
    depths = (2, 1, 1)
    compare(
        functools.partial(create_model, "shufflenet_v1", groups=groups, depths=depths),
        ShuffleNetV1(channels, depths, groups, CLASSES),
        (),
        (3, 70, 45, 3),
    )


def test_version_2():
    channels, depths = (20, 36), (2, 3)
    compare(
        functools.partial(ShuffleNet, ShuffleUnitV2, channels, 40, depths=depths),
        ShuffleNetV2(channels, depths, 40, CLASSES, 1),
        NAMES,
        (3, 70, 45, 1),
    )


@pytest.mark.parametrize(
    ("size", "channels", "head"),
    [
        ("0_5", (48, 96, 192), 1024),
        ("1_0", (116, 232, 464), 1024),
        ("1_5", (176, 352, 704), 1024),
        ("2_0", (244, 488, 976), 2048),
    ],
)
def test_every_variable_has_its_name_in_torchvision(size, channels, head):
    with torch.device("meta"):
        theirs = ShuffleNetV2(channels, (4, 8, 4), head, 1000)
    ours = nnx.eval_shape(lambda: create_model(f"shufflenet_v2_x{size}", rngs=nnx.Rngs(0)))
    same_names(ours, theirs, NAMES)
