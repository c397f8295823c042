"""Independent PyTorch oracle of the second-order search (arXiv:1806.09055, equations 7 and 8)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_reference import Batch, FirstOrderSearch, SearchNetwork


def central_difference(difference: Tensor, radius: Tensor) -> Tensor:
    return difference / (2 * radius)


class SecondOrderSearch(FirstOrderSearch):
    """As published: one step ahead, and the second derivative by a finite difference.

    `divide` makes a derivative of a difference over twice a radius.
    """

    def __init__(
        self,
        network: SearchNetwork,
        normal: Tensor,
        reduce: Tensor,
        divide: Callable[[Tensor, Tensor], Tensor] = central_difference,
    ) -> None:
        super().__init__(network, normal, reduce)
        self.divide = divide

    def architecture_gradients(
        self, train: Batch, valid: Batch, learning_rate: float
    ) -> tuple[Tensor, list[Tensor]]:
        architecture = [self.normal, self.reduce]
        present = [weight.detach().clone() for weight in self.weights]
        self.place(self.ahead(train, learning_rate))
        valid_loss = self.loss(*valid)
        gradients = torch.autograd.grad(valid_loss, [*architecture, *self.weights])
        by_architecture, direction = gradients[:2], gradients[2:]
        radius = 0.01 / torch.cat([part.flatten() for part in direction]).norm()
        ends = []
        for distance in (radius, -radius):
            moved = zip(present, direction, strict=True)
            self.place([weight + distance * part for weight, part in moved])
            ends.append(torch.autograd.grad(self.loss(*train), architecture))
        self.place(present)
        products = [self.divide(plus - minus, radius) for plus, minus in zip(*ends, strict=True)]
        return valid_loss, [
            gradient - learning_rate * product
            for gradient, product in zip(by_architecture, products, strict=True)
        ]

    def ahead(self, train: Batch, learning_rate: float, create_graph: bool = False) -> list[Tensor]:
        """The weights after a step that is not clipped."""
        group = self.weight_optimizer.param_groups[0]
        gradients = torch.autograd.grad(self.loss(*train), self.weights, create_graph=create_graph)
        ahead = []
        for weight, gradient in zip(self.weights, gradients, strict=True):
            gradient = gradient + group["weight_decay"] * weight.detach()
            velocity = self.weight_optimizer.state[weight].get("momentum_buffer")
            if velocity is not None:
                gradient = gradient + group["momentum"] * velocity
            ahead.append(weight.detach() - learning_rate * gradient)
        return ahead

    def place(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self.weights, values, strict=True):
                weight.copy_(value)


class UnrolledSearch(SecondOrderSearch):
    """The same derivative, by differentiating through the step."""

    def architecture_gradients(
        self, train: Batch, valid: Batch, learning_rate: float
    ) -> tuple[Tensor, list[Tensor]]:
        names = [name for name, _ in self.network.named_parameters()]
        ahead = dict(zip(names, self.ahead(train, learning_rate, create_graph=True), strict=True))
        images, labels = valid
        mixes = self.normal.softmax(dim=-1), self.reduce.softmax(dim=-1)
        logits = torch.func.functional_call(self.network, ahead, (images, *mixes))
        valid_loss = torch.nn.functional.cross_entropy(logits, labels)
        return valid_loss, list(torch.autograd.grad(valid_loss, [self.normal, self.reduce]))
