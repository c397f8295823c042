"""The recurrent cell of DARTS, its search cell and their language model, in plain PyTorch.

Written from the formulas of arXiv:1806.09055 and the settings of its published code, apart from
``search.recurrent``. Dropout takes its masks from outside, as a dict by name.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}
PRIMITIVES = ("none", "tanh", "relu", "sigmoid", "identity")


def uniform(*shape):
    return nn.Parameter(torch.empty(*shape).uniform_(-0.04, 0.04))


class Cell(nn.Module):
    """A discrete cell: ``edges`` are (activation, state) pairs, one a node, and the output is the
    mean of the nodes."""

    def __init__(self, edges, units):
        super().__init__()
        self.edges, self.units = edges, units
        self.first = uniform(2 * units, 2 * units)
        self.others = nn.ParameterList(uniform(units, 2 * units) for _ in edges)

    def start(self, x, h, masks):
        if masks is not None:
            product = torch.cat([x * masks["inputs"], h * masks["hidden"]], 1) @ self.first
        else:
            product = torch.cat([x, h], 1) @ self.first
        c, g = product.chunk(2, 1)
        return h + torch.sigmoid(c) * (torch.tanh(g) - h)

    def forward(self, x, h, masks):
        states = [self.start(x, h, masks)]
        for (activation, source), kernel in zip(self.edges, self.others, strict=True):
            s = states[source]
            product = (s if masks is None else s * masks["hidden"]) @ kernel
            c, g = product.chunk(2, 1)
            states.append(s + torch.sigmoid(c) * (ACTIVATIONS[activation](g) - s))
        return torch.stack(states[1:]).mean(0)


class SearchCell(Cell):
    """A cell whose every edge is mixed by ``mix`` [edges, primitives]."""

    def __init__(self, nodes, units, primitives=PRIMITIVES):
        super().__init__([None] * nodes, units)
        self.primitives = primitives
        self.norm = nn.BatchNorm1d(units, affine=False, track_running_stats=False)

    def forward(self, x, h, masks, mix):
        states = self.norm(self.start(x, h, masks))[None]
        edge = 0
        for kernel in self.others:
            count = len(states)
            inputs = states if masks is None else states * masks["hidden"]
            # All states at once, as a product of one tall matrix.
            products = (inputs.reshape(-1, self.units) @ kernel).view(count, -1, 2 * self.units)
            c, g = products.chunk(2, 2)
            c = torch.sigmoid(c)
            node = 0
            for k, name in enumerate(self.primitives):
                if name != "none":
                    weights = mix[edge : edge + count, k].view(-1, 1, 1)
                    node = node + (weights * (states + c * (ACTIVATIONS[name](g) - states))).sum(0)
            states = torch.cat([states, self.norm(node)[None]])
            edge += count
        return states[1:].mean(0)


class LanguageModel(nn.Module):
    def __init__(self, cell, vocabulary):
        super().__init__()
        self.cell = cell
        self.embedding = uniform(vocabulary, cell.units)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, words, h, *mix, masks=None):
        """Words [steps, batch] and a hidden state to logits, hidden states, the last of them."""
        table = self.embedding
        if masks is not None and "words" in masks:
            table = table * masks["words"][:, None]
        xs = functional.embedding(words, table)
        if masks is not None:
            xs = xs * masks["embedded"]
        states = []
        for x in xs:
            h = self.cell(x, h, masks, *mix)
            states.append(h)
        states = torch.stack(states)
        outputs = states if masks is None else states * masks["outputs"]
        logits = functional.linear(outputs, self.embedding, self.bias)
        return logits, states, h


def losses(model, words, targets, h, *mix, masks=None):
    """Cross-entropy, temporal change of the hidden states, and the last hidden state."""
    logits, states, h = model(words, h, *mix, masks=masks)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    change = (states[1:] - states[:-1]).pow(2).mean() if len(states) > 1 else loss.new_zeros(())
    return loss, change, h.detach()


def share(gradients, clip):
    """What these are multiplied by so that their norm is at most ``clip``, without PyTorch's
    1e-6 beside the norm."""
    norm = torch.sqrt(sum(g.pow(2).sum() for g in gradients))
    return float(min(1.0, clip / norm))


@torch.no_grad()
def descend(parameters, gradients, rate, clip, weight_decay):
    factor = share(gradients, clip)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter -= rate * (factor * gradient + weight_decay * parameter)


class Search:
    """A recurrent search: Adam for the architecture weights, descent for the weights."""

    def __init__(self, model, alphas, *, second_order=False, learning_rate=20.0, steps=35):
        self.model, self.alphas, self.second_order = model, alphas, second_order
        self.learning_rate, self.steps = learning_rate, steps
        self.clip, self.weight_decay, self.temporal = 0.25, 5e-7, 1e-3
        self.alphas.requires_grad_()
        self.optimizer = torch.optim.Adam([alphas], lr=3e-3, weight_decay=1e-3)

    def loss(self, segment, masks):
        mix = functional.softmax(self.alphas, -1)
        return losses(self.model, *segment, mix, masks=masks)

    def step(self, train, valid, train_masks=None, valid_masks=None):
        """A step on segments (words, targets, hidden state); the two losses, and hidden states."""
        rate = self.learning_rate * len(train[0]) / self.steps
        weights = list(self.model.parameters())
        if self.second_order:
            found, by_alphas = self.ahead(train, valid, train_masks, valid_masks, rate)
        else:
            found = self.loss(valid, valid_masks)
            (by_alphas,) = torch.autograd.grad(found[0], [self.alphas])
        self.alphas.grad = by_alphas
        valid_loss, _, valid_hidden = found
        self.optimizer.step()

        loss, change, hidden = self.loss(train, train_masks)
        gradients = torch.autograd.grad(loss + self.temporal * change, weights)
        descend(weights, gradients, rate, self.clip, self.weight_decay)
        return loss.detach(), valid_loss.detach(), hidden, valid_hidden

    def ahead(self, train, valid, train_masks, valid_masks, rate):
        weights = list(self.model.parameters())
        before = [w.detach().clone() for w in weights]

        def put(values):
            with torch.no_grad():
                for weight, value in zip(weights, values, strict=True):
                    weight.copy_(value)

        gradients = torch.autograd.grad(self.loss(train, train_masks)[0], weights)
        factor = share(gradients, self.clip)
        descend(weights, gradients, rate, self.clip, self.weight_decay)
        found = self.loss(valid, valid_masks)
        *vector, by_alphas = torch.autograd.grad(found[0], [*weights, self.alphas])
        scale = share(vector, self.clip)
        vector = [scale * v for v in vector]
        radius = 0.01 / float(torch.sqrt(sum(v.pow(2).sum() for v in vector)))
        ends = []
        for sign in (1, -1):
            put([w + sign * radius * v for w, v in zip(before, vector, strict=True)])
            ends.append(torch.autograd.grad(self.loss(train, train_masks)[0], self.alphas)[0])
        put(before)
        product = (ends[0] - ends[1]) / (2 * radius)
        return found, by_alphas - rate * factor * product


def train_step(model, segment, rate, masks=None, clip=0.25, weight_decay=8e-7, temporal=1e-3):
    """A step of training a discrete cell on (words, targets, hidden state)."""
    weights = list(model.parameters())
    loss, change, hidden = losses(model, *segment, masks=masks)
    gradients = torch.autograd.grad(loss + temporal * change, weights)
    descend(weights, gradients, rate, clip, weight_decay)
    return loss.detach(), hidden


@torch.no_grad()
def mean_loss(model, words, batch_size, steps=35):
    """Cross-entropy of all words of a text but the first, read in streams."""
    count = len(words) - 1
    rows = -(-count // batch_size)
    total = torch.zeros((), dtype=torch.float64)
    h = torch.zeros(batch_size, model.cell.units, dtype=model.bias.dtype)
    for column in range(0, rows, steps):
        pieces = []
        for stream in range(batch_size):
            begin, end = stream * rows, min((stream + 1) * rows, count)
            pieces.append(slice(begin + column, min(begin + column + steps, end)))
        longest = max(piece.stop - piece.start for piece in pieces)
        inputs = torch.zeros(longest, batch_size, dtype=torch.long)
        targets = torch.full((longest, batch_size), -100)
        for stream, piece in enumerate(pieces):
            length = max(piece.stop - piece.start, 0)
            inputs[:length, stream] = words[piece.start : piece.start + length]
            targets[:length, stream] = words[piece.start + 1 : piece.start + length + 1]
        logits, _, h = model(inputs, h)
        total += functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), reduction="sum"
        ).double()
    return float(total / count)


def masks(rates, vocabulary, batch, units, device="cpu"):
    """Masks of dropout drawn by PyTorch, by name as their ``rates`` are; "words" may be missing."""

    def draw(rate, *shape) -> Tensor:
        return torch.empty(shape, device=device).bernoulli_(1 - rate) / (1 - rate)

    shapes = {name: (vocabulary,) if name == "words" else (batch, units) for name in rates}
    return {name: draw(rates[name], *shape) for name, shape in shapes.items()}
