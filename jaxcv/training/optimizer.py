"""The optimizer that trains the weights of networks and supernets."""

import optax


def clipped_sgd(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float, clip: float
) -> optax.GradientTransformation:
    """``v = m v + (clipped gradient + d w)``, ``w = w - rate v``, with momentum m and decay d; the
    gradient is clipped to the norm ``clip`` before the decay is added (arXiv:1806.09055)."""
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.add_decayed_weights(weight_decay),
        optax.sgd(schedule, momentum=momentum),
    )
