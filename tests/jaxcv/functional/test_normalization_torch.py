"""Normalisation against PyTorch, in float64: values, gradients, running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcv import functional

torch = pytest.importorskip("torch")

import torch_weights  # noqa: E402


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("momentum", "epsilon"), [(0.1, 1e-5), (0.01, 1e-3), (1.0, 0.1)])
def test_batch_norm(momentum, epsilon, affine):
    random = np.random.default_rng(0)
    images = random.normal(1, 2, size=(3, 2, 3, 4, 5))
    y_gradient = random.normal(size=images.shape[1:])
    theirs = torch.nn.BatchNorm2d(5, epsilon, momentum, affine=affine).double()
    torch_weights.randomize(theirs, seed=1)
    names = ("weight", "bias")
    weights = [getattr(theirs, name).detach().numpy().copy() for name in names if affine]
    statistics = functional.Statistics(
        *(a.numpy().copy() for a in (theirs.running_mean, theirs.running_var))
    )

    def ours(x, *weights, statistics, train):
        return functional.batch_norm(
            x,
            *(weights or (None, None)),
            statistics,
            train=train,
            momentum=momentum,
            epsilon=epsilon,
        )

    for x in images:
        their_x = torch_weights.to_torch(x).requires_grad_()
        theirs.train().zero_grad()
        their_y = theirs(their_x)
        their_y.backward(torch_weights.to_torch(y_gradient))
        y, pull, statistics = jax.vjp(
            lambda *a, s=statistics: ours(*a, statistics=s, train=True),
            jnp.asarray(x),
            *weights,
            has_aux=True,
        )
        x_gradient, *gradients = pull(y_gradient)
        torch_weights.close(y, torch_weights.from_torch(their_y))
        torch_weights.close(x_gradient, torch_weights.from_torch(their_x.grad))
        their_gradients = [getattr(theirs, name).grad.numpy() for name in names if affine]
        torch_weights.close(gradients, their_gradients)
        torch_weights.close(
            list(statistics), [theirs.running_mean.numpy(), theirs.running_var.numpy()]
        )
        evaluated, _ = ours(x, *weights, statistics=statistics, train=False)
        theirs.eval()
        expected = theirs(torch_weights.to_torch(x))
        torch_weights.close(evaluated, torch_weights.from_torch(expected))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 12])
def test_local_response_norm(size):
    random = np.random.default_rng(0)
    x, y_gradient = random.normal(scale=3, size=(2, 2, 3, 4, 7))
    settings = {"alpha": 0.3, "beta": 0.6, "k": 2.0}
    their_x = torch_weights.to_torch(x).requires_grad_()
    their_y = torch.nn.functional.local_response_norm(their_x, size, **settings)
    their_y.backward(torch_weights.to_torch(y_gradient))
    y, pull = jax.vjp(lambda x: functional.local_response_norm(x, size, **settings), jnp.asarray(x))
    torch_weights.close(y, torch_weights.from_torch(their_y))
    torch_weights.close(pull(y_gradient)[0], torch_weights.from_torch(their_x.grad))


def test_local_response_norm_has_the_defaults_of_pytorch():
    x = np.random.default_rng(0).normal(scale=100, size=(2, 3, 4, 7))
    theirs = torch.nn.LocalResponseNorm(5)(torch_weights.to_torch(x))
    torch_weights.close(functional.local_response_norm(x), torch_weights.from_torch(theirs))
