"""Settings by name, for searching and for training what was found.

``digits`` takes minutes on two CPU cores. ``cifar10`` is the setting of arXiv:1806.09055, for a GPU
or TPU. ``cifar10_small`` is the same at a size for the CPU: fewer and thinner cells, fewer epochs.
``ptb`` and ``ptb_small`` are the same for the recurrent cell on Penn Treebank.
The README's results say how long each took, and how good its network was.
"""

from jaxcv.training import classification
from search import Config, recurrent

SEARCH = {
    "digits": Config(
        channels=8,
        layers=3,
        epochs=12,
        learning_rate=0.05,
        # With 132 steps instead of 19,500 the published rate would hardly move them.
        alpha_learning_rate=0.01,
    ),
    "cifar10": Config(),
    "cifar10_small": Config(channels=4, layers=3, epochs=1, alpha_learning_rate=0.01),
}

CLASSIFICATION = {
    "digits": classification.Config(
        channels=16,
        layers=3,
        epochs=15,
        batch_size=64,
        learning_rate=0.05,
        drop_path=0.05,
        auxiliary_weight=0.0,
        cutout=0,
    ),
    "cifar10": classification.Config(),
    "cifar10_small": classification.Config(
        channels=8, layers=3, epochs=2, drop_path=0.0, auxiliary_weight=0.0, cutout=0
    ),
}

RECURRENT_SEARCH = {
    "ptb_small": recurrent.SearchConfig(
        units=64,
        epochs=2,
        batch_size=64,
        dropout=recurrent.Dropout(embedded=0.1, inputs=0.1, hidden=0.1, outputs=0.1),
        # With some 850 steps instead of 5,300 the published rate would move them less.
        alpha_learning_rate=0.01,
    ),
    "ptb": recurrent.SearchConfig(),
}

RECURRENT_TRAINING = {
    "ptb_small": recurrent.TrainConfig(
        units=128,
        epochs=4,
        dropout=recurrent.Dropout(words=0.0, embedded=0.1, inputs=0.1, hidden=0.1, outputs=0.2),
        evaluation_batch_size=64,
    ),
    "ptb": recurrent.TrainConfig(),
}
