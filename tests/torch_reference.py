"""Independent PyTorch oracle for the parity tests: DARTS search and discovered networks, NCHW.

Written from the papers' settings (DARTS, arXiv:1806.09055) in plain PyTorch and shares no code with
`jaxcv`. Within every module the convolution, batch-norm and linear leaves are registered in the
order they execute, so `leaves` is all a weight-copying function needs. The exception is
`CellNetwork.auxiliary_head`, which is registered after all the cells. A `CellNetwork` calls its
parameters as the published code of DARTS does.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SEARCH_PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)

Edges = Sequence[tuple[str, int]]
Batch = tuple[Tensor, Tensor]


def leaves(module: nn.Module) -> list[nn.Module]:
    """Return the layers of `module` that can own parameters or statistics, in execution order."""
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# Operations


def batch_norm(channels: int, affine: bool, search: bool) -> nn.BatchNorm2d:
    """Batch statistics only in `search`; running statistics (momentum 0.1) otherwise."""
    return nn.BatchNorm2d(channels, affine=affine, track_running_stats=not search)


class Zero(nn.Module):
    """`none`: zeros, of the size that an operation of this stride leaves."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Op(nn.Module):
    """Layers in turn, as `op`."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def relu_conv_bn(inputs: int, outputs: int, affine: bool, search: bool) -> Op:
    """ReLU, 1x1 convolution, BN."""
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    return Op([nn.ReLU(), convolution, batch_norm(outputs, affine, search)])


class FactorizedReduce(nn.Module):
    """Halve an even size: ReLU, two 1x1 stride-2 convs on the grids (0, 0) and (1, 1), BN."""

    def __init__(self, inputs: int, outputs: int, affine: bool, search: bool) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.bn = batch_norm(outputs, affine, search)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x)
        halves = [self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])]
        return self.bn(torch.cat(halves, dim=1))


def depthwise_pointwise(
    channels: int, kernel: int, stride: int, dilation: int, affine: bool, search: bool
) -> list[nn.Module]:
    """ReLU, depthwise, pointwise, BN."""
    depthwise = nn.Conv2d(
        channels,
        channels,
        kernel,
        stride=stride,
        padding=dilation * (kernel - 1) // 2,
        dilation=dilation,
        groups=channels,
        bias=False,
    )
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return [nn.ReLU(), depthwise, pointwise, batch_norm(channels, affine, search)]


def operation(name: str, channels: int, stride: int, affine: bool, search: bool) -> nn.Module:
    """Build one operation, `channels` to `channels`.

    `affine` gives its BN a scale and an offset. `search` makes every BN use batch statistics and
    puts a BN, without scale and offset, behind the pools.
    """
    layers: list[nn.Module]
    match name.split("_"):
        case ["none"]:
            layers = [Zero(stride)]
        case ["max", "pool", "3x3" | "5x5" | "7x7" as size]:
            window = int(size[0])
            layers = [nn.MaxPool2d(window, stride=stride, padding=window // 2)]
        case ["max", "pool", "2x2"]:
            # Of even sizes.
            beyond = nn.ConstantPad2d((0, 2 - stride, 0, 2 - stride), -torch.inf)
            layers = [beyond, nn.MaxPool2d(2, stride=stride)]
        case ["avg", "pool", "3x3"]:
            layers = [nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)]
        case ["skip", "connect"] if stride == 1:
            layers = [nn.Identity()]
        case ["skip", "connect"]:
            return FactorizedReduce(channels, channels, affine, search)
        case ["sep", "conv", "3x3" | "5x5" | "7x7" as size]:
            first = depthwise_pointwise(channels, int(size[0]), stride, 1, affine, search)
            return Op([*first, *depthwise_pointwise(channels, int(size[0]), 1, 1, affine, search)])
        case ["dil", "conv", "3x3" | "5x5" as size]:
            return Op(depthwise_pointwise(channels, int(size[0]), stride, 2, affine, search))
        case ["dil", "sep", "conv", "5x5"]:
            first = depthwise_pointwise(channels, 5, stride, 2, affine, search)
            return Op([*first, *depthwise_pointwise(channels, 5, 1, 2, affine, search)])
        case ["nor", "conv", "1x1" | "3x3" | "5x5" as size]:
            window, padding = int(size[0]), int(size[0]) // 2
            layers = [
                nn.ReLU(),
                nn.Conv2d(channels, channels, window, stride, padding, bias=False),
                batch_norm(channels, affine, search),
            ]
        case ["conv", "7x1" | "3x1" as size, _]:
            n, half = int(size[0]), int(size[0]) // 2
            layers = [
                nn.ReLU(),
                nn.Conv2d(
                    channels, channels, (1, n), stride=(1, stride), padding=(0, half), bias=False
                ),
                nn.Conv2d(
                    channels, channels, (n, 1), stride=(stride, 1), padding=(half, 0), bias=False
                ),
                batch_norm(channels, affine, search),
            ]
        case _:
            raise ValueError(f"unknown operation {name!r}")
    if search and "pool" in name:
        layers.append(batch_norm(channels, affine=False, search=True))
    return nn.Sequential(*layers)


def preprocess(inputs: int, outputs: int, halve: bool, affine: bool, search: bool) -> nn.Module:
    """Bring a cell input to the cell's channels, and to half the size when `halve`."""
    layer = FactorizedReduce if halve else relu_conv_bn
    return layer(inputs, outputs, affine, search)


class Place(NamedTuple):
    """What a cell's position in the network decides."""

    reduction: bool
    after_reduction: bool
    channels: int


def places(channels: int, layers: int, starts_reduced: bool = False) -> Iterator[Place]:
    """Walk the skeleton: reductions at one and two thirds of the depth double the channels."""
    after_reduction = starts_reduced
    for index in range(layers):
        reduction = index in (layers // 3, 2 * layers // 3)
        if reduction:
            channels *= 2
        yield Place(reduction, after_reduction, channels)
        after_reduction = reduction


# Supernet of the search


class SearchCell(nn.Module):
    """Every edge computes every primitive; a node sums its edges' weighted outputs.

    `edges[e][k]` is primitive `k` on edge `e`; edges are ordered node by node, source by source.
    """

    def __init__(self, before_last: int, last: int, place: Place, nodes: int) -> None:
        super().__init__()
        channels = place.channels
        self.nodes = nodes
        self.preprocess0 = preprocess(before_last, channels, place.after_reduction, False, True)
        self.preprocess1 = preprocess(last, channels, False, False, True)
        self.edges = nn.ModuleList(
            nn.ModuleList(
                operation(name, channels, 2 if place.reduction and source < 2 else 1, False, True)
                for name in SEARCH_PRIMITIVES
            )
            for node in range(nodes)
            for source in range(2 + node)
        )

    def forward(self, before_last: Tensor, last: Tensor, mix: Tensor) -> Tensor:
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        edge = 0
        for _ in range(self.nodes):
            total = torch.zeros(())
            for state in states:
                for weight, primitive in zip(mix[edge], self.edges[edge], strict=True):
                    total = total + weight * primitive(state)
                edge += 1
            states.append(total)
        return torch.cat(states[2:], dim=1)


class SearchNetwork(nn.Module):
    """The supernet: `stem` (conv, BN), `cells`, global average pool, `classifier`."""

    def __init__(
        self,
        channels: int,
        layers: int,
        num_classes: int,
        nodes: int = 4,
        stem_multiplier: int = 3,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        width = stem_multiplier * channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            batch_norm(width, affine=True, search=True),
        )
        self.cells = nn.ModuleList()
        before_last = last = width
        for place in places(channels, layers):
            self.cells.append(SearchCell(before_last, last, place, nodes))
            before_last, last = last, nodes * place.channels
        self.reductions = [place.reduction for place in places(channels, layers)]
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor, normal_mix: Tensor, reduce_mix: Tensor) -> Tensor:
        """Logits of images [N, C, H, W] under mixing weights [edges, primitives] (softmaxed)."""
        before_last = last = self.stem(x)
        for cell, reduction in zip(self.cells, self.reductions, strict=True):
            mix = reduce_mix if reduction else normal_mix
            before_last, last = last, cell(before_last, last, mix)
        return self.classifier(last.mean(dim=(2, 3)))


# Network of a genotype


class DiscreteCell(nn.Module):
    """A discovered cell: two edges a node; `_ops[2 * node]` and the next one make up a node."""

    def __init__(
        self, before_last: int, last: int, place: Place, edges: Edges, concat: Sequence[int]
    ) -> None:
        super().__init__()
        channels = place.channels
        self.sources = [source for _, source in edges]
        self.concat = list(concat)
        self.preprocess0 = preprocess(before_last, channels, place.after_reduction, True, False)
        self.preprocess1 = preprocess(last, channels, False, True, False)
        self._ops = nn.ModuleList(
            operation(name, channels, 2 if place.reduction and source < 2 else 1, True, False)
            for name, source in edges
        )

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        for left in range(0, len(self.sources), 2):
            right = left + 1
            states.append(
                self._ops[left](states[self.sources[left]])
                + self._ops[right](states[self.sources[right]])
            )
        return torch.cat([states[index] for index in self.concat], dim=1)


class AuxiliaryHead(nn.Module):
    """Classifier on the output of the second reduction: 8x8 for CIFAR, 7x7 for ImageNet."""

    def __init__(self, inputs: int, num_classes: int, skeleton: str) -> None:
        super().__init__()
        cifar = skeleton == "cifar"
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3 if cifar else 2),
            nn.Conv2d(inputs, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *([nn.BatchNorm2d(768)] if cifar else []),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


def conv_bn(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class CellNetwork(nn.Module):
    """The network of a genotype, without drop-path.

    `cells` maps "normal" and "reduce" to ([(operation, input), ...] two per node, concat).
    The "cifar" skeleton has the single stem `stem`; "imagenet" has `stem0` (stride 4) and `stem1`
    (stride 8), the first two cell inputs. `auxiliary_head` is None unless `auxiliary`.
    """

    def __init__(
        self,
        cells: dict[str, tuple[Edges, Sequence[int]]],
        skeleton: str,
        channels: int,
        layers: int,
        num_classes: int,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        if skeleton == "cifar":
            before_last = last = 3 * channels
            self.stem = nn.Sequential(*conv_bn(3, last, stride=1))
        elif skeleton == "imagenet":
            before_last = last = channels
            self.stem0 = nn.Sequential(
                *conv_bn(3, channels // 2, stride=2),
                nn.ReLU(),
                *conv_bn(channels // 2, channels, stride=2),
            )
            self.stem1 = nn.Sequential(nn.ReLU(), *conv_bn(channels, channels, stride=2))
        else:
            raise ValueError(f"skeleton is {skeleton!r}, want 'cifar' or 'imagenet'")
        self.skeleton = skeleton
        self.cells = nn.ModuleList()
        self.auxiliary_after = 2 * layers // 3
        self.auxiliary_head: AuxiliaryHead | None = None
        for index, place in enumerate(places(channels, layers, skeleton == "imagenet")):
            edges, concat = cells["reduce" if place.reduction else "normal"]
            self.cells.append(DiscreteCell(before_last, last, place, edges, concat))
            before_last, last = last, len(concat) * place.channels
            if auxiliary and index == self.auxiliary_after:
                self.auxiliary_head = AuxiliaryHead(last, num_classes, skeleton)
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits and, where there is an auxiliary head (in evaluation mode too), its logits."""
        if self.skeleton == "cifar":
            before_last = last = self.stem(x)
        else:
            before_last = self.stem0(x)
            last = self.stem1(before_last)
        auxiliary_logits = None
        for index, cell in enumerate(self.cells):
            before_last, last = last, cell(before_last, last)
            if self.auxiliary_head is not None and index == self.auxiliary_after:
                auxiliary_logits = self.auxiliary_head(last)
        return self.classifier(last.mean(dim=(2, 3))), auxiliary_logits


# Recipes


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


class SearchLosses(NamedTuple):
    """Losses before the step each of them caused: [] float tensors."""

    valid: Tensor
    train: Tensor


class FirstOrderSearch:
    """First-order DARTS on raw architecture weights [edges, primitives].

    `normal` and `reduce` are the architecture parameters; `weight_optimizer` and
    `architecture_optimizer` hold the optimizers' states.
    """

    def __init__(
        self,
        network: SearchNetwork,
        normal: Tensor,
        reduce: Tensor,
    ) -> None:
        self.network = network
        self.normal = nn.Parameter(normal.clone())
        self.reduce = nn.Parameter(reduce.clone())
        self.weights = list(network.parameters())
        self.weight_optimizer = torch.optim.SGD(
            self.weights, lr=0.025, momentum=0.9, weight_decay=3e-4
        )
        self.architecture_optimizer = torch.optim.Adam(
            [self.normal, self.reduce], lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        mixes = self.normal.softmax(dim=-1), self.reduce.softmax(dim=-1)
        return functional.cross_entropy(self.network(images, *mixes), labels)

    def architecture_gradients(
        self, train: Batch, valid: Batch, learning_rate: float
    ) -> tuple[Tensor, list[Tensor]]:
        """The validation loss, and the gradients that the architecture learns from."""
        valid_loss = self.loss(*valid)
        return valid_loss, list(torch.autograd.grad(valid_loss, [self.normal, self.reduce]))

    def step(self, train: Batch, valid: Batch, learning_rate: float) -> SearchLosses:
        """Step the architecture weights on `valid`, then the network's on `train`.

        Both are (images, labels); `learning_rate` is that of the network's weights this epoch.
        """
        self.network.train()
        valid_loss, gradients = self.architecture_gradients(train, valid, learning_rate)
        architecture = [self.normal, self.reduce]
        for parameter, gradient in zip(architecture, gradients, strict=True):
            parameter.grad = gradient
        self.architecture_optimizer.step()

        train_loss = self.loss(*train)
        gradients = torch.autograd.grad(train_loss, self.weights)
        for parameter, gradient in zip(self.weights, gradients, strict=True):
            parameter.grad = gradient
        # The optimizer adds the weight decay, so that it is not clipped.
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        set_learning_rate(self.weight_optimizer, learning_rate)
        self.weight_optimizer.step()
        return SearchLosses(valid_loss.detach(), train_loss.detach())


def train_optimizer(network: CellNetwork, weight_decay: float = 3e-4) -> torch.optim.SGD:
    """SGD of the CIFAR-10 training (ImageNet: `weight_decay` 3e-5)."""
    return torch.optim.SGD(network.parameters(), lr=0.025, momentum=0.9, weight_decay=weight_decay)


def train_step(
    network: CellNetwork,
    optimizer: torch.optim.SGD,
    images: Tensor,
    labels: Tensor,
    learning_rate: float,
) -> Tensor:
    """One step of a discovered network; returns the loss before it, the auxiliary one included."""
    network.train()
    logits, auxiliary_logits = network(images)
    loss = functional.cross_entropy(logits, labels)
    if auxiliary_logits is not None:
        loss = loss + 0.4 * functional.cross_entropy(auxiliary_logits, labels)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    set_learning_rate(optimizer, learning_rate)
    optimizer.step()
    return loss.detach()
