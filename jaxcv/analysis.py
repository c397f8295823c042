"""What a model is made of."""

import jax
from flax import nnx


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
