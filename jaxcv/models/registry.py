"""Models by name."""

import difflib
import fnmatch
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcv.models import (
    alexnet,
    cell,
    densenet,
    googlenet,
    inception_resnet,
    inception_v3,
    inception_v4,
    mobilenet,
    nasnet,
    resnet,
    shufflenet,
    squeezenet,
    vgg,
)
from jaxcv.models.network import Entry, Network

MODELS: dict[str, Entry] = {
    **alexnet.MODELS,
    **vgg.MODELS,
    **googlenet.MODELS,
    **inception_v3.MODELS,
    **inception_v4.MODELS,
    **inception_resnet.MODELS,
    **resnet.MODELS,
    **densenet.MODELS,
    **squeezenet.MODELS,
    **mobilenet.MODELS,
    **shufflenet.MODELS,
    **cell.MODELS,
    **nasnet.MODELS,
}


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a pattern, such as "res*", in the order of families and sizes."""
    return fnmatch.filter(MODELS, pattern)


def find(name: str) -> Entry:
    """What a name stands for.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(str(name), MODELS, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"name={name!r}; allowed are {', '.join(MODELS)}{hint}")
    return MODELS[name]


def create_model(
    name: str,
    num_classes: int | None = None,
    *,
    pretrained: str | os.PathLike[str] | None = None,
    inputs: int = 3,
    dtype: jax.typing.DTypeLike = jnp.float32,
    rngs: nnx.Rngs | None = None,
    **options: Any,
) -> Network:
    """A model by name, as ``create_model("resnet50", num_classes=10, rngs=nnx.Rngs(0))`` or
    ``create_model("resnet50", pretrained="timm/resnet50.a1_in1k")``.

    Args:
        name: one of ``list_models()``.
        num_classes: number of logits; by default those of its published weights.
        pretrained: PyTorch weights: a file of safetensors or ``torch.save``, or a name of the
            Hugging Face hub; see ``jaxcv.pretrained.load_weights``.
        inputs: channels of the images.
        dtype: to compute in; parameters, statistics and logits stay float32.
        rngs: source of the initial values; not needed for pretrained weights.
        options: of the family, such as ``output_stride`` of residual networks.

    Raises:
        ValueError: for an unknown name, with the nearest ones, values that are not allowed, and
            weights that cannot be read or do not fit.
    """
    entry = find(name)
    count = entry.num_classes if num_classes is None else num_classes
    make = functools.partial(entry.make, count, inputs=inputs, dtype=dtype, **options)
    if pretrained is None:
        if rngs is None:
            raise ValueError("rngs=None; allowed is an nnx.Rngs, or pretrained weights instead")
        return make(rngs=rngs)
    # Here, since it looks names up in this module.
    from jaxcv.pretrained import load_weights

    # Abstract, so that no initial values are computed in vain.
    model = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))
    load_weights(model, pretrained, name)
    return model
