"""Independent PyTorch oracle for the parity tests of Inception-v4 and Inception-ResNet, NCHW, named
as where the weights are published: timm for Inception-v4 and Inception-ResNet-v2, facenet-pytorch
for Inception-ResNet-v1."""

import torch
from torch import nn
from torch.nn import functional
from torch_inception import Mixed, branches, chain, halve, mean, same, unit

# Inception-v4


def v4_mixed_3a():
    return Mixed({"max": halve(), "conv": unit(64, 96, 3, 2)}, ["max"], ["conv"])


def v4_mixed_4a():
    return branches(
        chain(160, (64, 1), (96, 3, 1)),
        chain(160, (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3, 1)),
    )


def v4_mixed_5a():
    return Mixed({"conv": unit(192, 192, 3, 2), "max": halve()}, ["conv"], ["max"])


def v4_a():
    return branches(
        same(384, 96, 1),
        chain(384, (64, 1), (96, 3)),
        chain(384, (64, 1), (96, 3), (96, 3)),
        [mean(False), same(384, 96, 1)],
    )


def v4_reduce_a():
    return branches(unit(384, 384, 3, 2), chain(384, (192, 1), (224, 3), (256, 3, 2)), halve())


def v4_b():
    return branches(
        same(1024, 384, 1),
        chain(1024, (192, 1), (224, (1, 7)), (256, (7, 1))),
        chain(1024, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        [mean(False), same(1024, 128, 1)],
    )


def v4_reduce_b():
    return branches(
        chain(1024, (192, 1), (192, 3, 2)),
        chain(1024, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2)),
        halve(),
    )


def v4_c():
    modules = {
        "branch0": same(1536, 256, 1),
        "branch1_0": same(1536, 384, 1),
        "branch1_1a": same(384, 256, (1, 3)),
        "branch1_1b": same(384, 256, (3, 1)),
        "branch2_0": same(1536, 384, 1),
        "branch2_1": same(384, 448, (3, 1)),
        "branch2_2": same(448, 512, (1, 3)),
        "branch2_3a": same(512, 256, (1, 3)),
        "branch2_3b": same(512, 256, (3, 1)),
        "branch3": nn.Sequential(mean(False), same(1536, 256, 1)),
    }
    return Mixed(
        modules,
        ["branch0"],
        ["branch1_0", ("branch1_1a", "branch1_1b")],
        ["branch2_0", "branch2_1", "branch2_2", ("branch2_3a", "branch2_3b")],
        ["branch3"],
    )


class InceptionV4(nn.Module):
    def __init__(self, num_classes, in_channels=3, repeats=(4, 7, 3)):
        super().__init__()
        a, b, c = repeats
        self.features = nn.Sequential(
            unit(in_channels, 32, 3, 2),
            unit(32, 32, 3),
            same(32, 64, 3),
            v4_mixed_3a(),
            v4_mixed_4a(),
            v4_mixed_5a(),
            *(v4_a() for _ in range(a)),
            v4_reduce_a(),
            *(v4_b() for _ in range(b)),
            v4_reduce_b(),
            *(v4_c() for _ in range(c)),
        )
        self.last_linear = nn.Linear(1536, num_classes)

    def forward(self, x):
        return self.last_linear(self.features(x).mean((2, 3)))


# Inception-ResNet


class Residual(nn.Module):
    """`branch0`, ..., `conv2d`, added to x with a scale, and ReLU."""

    def __init__(self, inputs, chains, scale, relu=True):
        super().__init__()
        for number, (first, *layers) in enumerate(chains):
            units = chain(inputs, (first, 1), *layers)
            whole = nn.Sequential(*units) if layers else units[0]
            self.add_module(f"branch{number}", whole)
        outputs = sum((first, *(width for width, _ in layers))[-1] for first, *layers in chains)
        self.conv2d = nn.Conv2d(outputs, inputs, 1)
        self.count, self.scale, self.relu = len(chains), scale, relu

    def forward(self, x):
        found = [getattr(self, f"branch{number}")(x) for number in range(self.count)]
        y = x + self.scale * self.conv2d(torch.cat(found, 1))
        return functional.relu(y) if self.relu else y


def resnet_reduce_b(inputs, second, third):
    return branches(
        chain(inputs, (256, 1), (384, 3, 2)),
        chain(inputs, (256, 1), (second, 3, 2)),
        chain(inputs, (256, 1), (second, 3), (third, 3, 2)),
        halve(),
    )


class InceptionResNet(nn.Module):
    """Its children in a row, the mean, and the last of them."""

    def _stem(self, in_channels):
        self.conv2d_1a = unit(in_channels, 32, 3, 2)
        self.conv2d_2a = unit(32, 32, 3)
        self.conv2d_2b = same(32, 64, 3)
        self.maxpool_3a = halve()
        self.conv2d_3b = same(64, 80, 1)
        self.conv2d_4a = unit(80, 192, 3)

    def forward(self, x):
        *body, classifier = self.children()
        for module in body:
            x = module(x)
        return classifier(x.mean((2, 3)))


class InceptionResNetV1(InceptionResNet):
    def __init__(self, num_classes, in_channels=3, repeats=(5, 10, 5)):
        super().__init__()
        a, b, c = repeats
        row7, column7, row3, column3 = (1, 7), (7, 1), (1, 3), (3, 1)
        self._stem(in_channels)
        self.conv2d_4b = unit(192, 256, 3, 2)
        chains = ((32,), (32, (32, 3)), (32, (32, 3), (32, 3)))
        self.repeat_1 = nn.Sequential(*(Residual(256, chains, 0.17) for _ in range(a)))
        self.mixed_6a = branches(
            unit(256, 384, 3, 2), chain(256, (192, 1), (192, 3), (256, 3, 2)), halve()
        )
        chains = ((128,), (128, (128, row7), (128, column7)))
        self.repeat_2 = nn.Sequential(*(Residual(896, chains, 0.1) for _ in range(b)))
        self.mixed_7a = resnet_reduce_b(896, 256, 256)
        chains = ((192,), (192, (192, row3), (192, column3)))
        self.repeat_3 = nn.Sequential(*(Residual(1792, chains, 0.2) for _ in range(c)))
        self.logits = nn.Linear(1792, num_classes)


class InceptionResNetV2(InceptionResNet):
    def __init__(self, num_classes, in_channels=3, repeats=(10, 20, 9)):
        super().__init__()
        a, b, c = repeats
        row7, column7, row3, column3 = (1, 7), (7, 1), (1, 3), (3, 1)
        self._stem(in_channels)
        self.maxpool_5a = halve()
        self.mixed_5b = branches(
            same(192, 96, 1),
            chain(192, (48, 1), (64, 5)),
            chain(192, (64, 1), (96, 3), (96, 3)),
            [mean(False), same(192, 64, 1)],
        )
        chains = ((32,), (32, (32, 3)), (32, (48, 3), (64, 3)))
        self.repeat = nn.Sequential(*(Residual(320, chains, 0.17) for _ in range(a)))
        self.mixed_6a = branches(
            unit(320, 384, 3, 2), chain(320, (256, 1), (256, 3), (384, 3, 2)), halve()
        )
        chains = ((192,), (128, (160, row7), (192, column7)))
        self.repeat_1 = nn.Sequential(*(Residual(1088, chains, 0.1) for _ in range(b)))
        self.mixed_7a = resnet_reduce_b(1088, 288, 320)
        chains = ((192,), (192, (224, row3), (256, column3)))
        self.repeat_2 = nn.Sequential(*(Residual(2080, chains, 0.2) for _ in range(c)))
        self.block8 = Residual(2080, chains, 1.0, relu=False)
        self.conv2d_7b = same(2080, 1536, 1)
        self.classif = nn.Linear(1536, num_classes)
