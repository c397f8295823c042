"""Settings by name, for searching and for training what was found.

``digits`` takes minutes on two CPU cores. ``cifar10`` is the setting of arXiv:1806.09055, for a GPU
or TPU. ``cifar10_small`` is the same at a size for the CPU: fewer and thinner cells, fewer epochs.
``imagenet`` trains with that paper's setting for ImageNet, on photographs read from disk.
``ptb`` and ``ptb_small`` are the same for the recurrent cell on Penn Treebank.
experiments/results/README.md says what each took, and how good its network was.

``gdas``, ``drnas``, ``fairdarts``, ``pcdarts``, ``pdarts`` and ``darts_pt`` are searches on
CIFAR-10 with other relaxations or another selection, for a GPU or TPU; they train what they find as
``cifar10`` does. Figures are those of the code that their authors published.
"""

from dataclasses import dataclass, field

from jaxcv.training import classification
from search import Config, Stages, recurrent

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


@dataclass(frozen=True)
class Published:
    """A published search on CIFAR-10."""

    search: Config
    space: str = "darts"
    stages: Stages = field(default_factory=Stages)


PUBLISHED = {
    # arXiv:1910.04465, github.com/D-X-Y/AutoDL-Projects: configs/search-opts/
    # GDAS-NASNet-CIFAR.config and lib/models/cell_searchs. Its momentum is Nesterov's, ours is not.
    "gdas": Published(
        Config(
            layers=6,
            epochs=250,
            batch_size=256,
            weight_decay=5e-4,
            relaxation="gumbel",
        )
    ),
    # arXiv:2006.10355, github.com/xiangning-chen/DrNAS: DARTS-space/train_search.py. It keeps four
    # primitives an edge after half of the epochs and goes on, wider, with partial=4, pools have no
    # batch norm, and the warm-up comes again; not so here.
    "drnas": Published(
        Config(
            channels=36,
            layers=20,
            learning_rate=0.1,
            learning_rate_end=0.0,
            alpha_learning_rate=6e-4,
            alpha_warmup=10,
            relaxation="dirichlet",
            partial=6,
        )
    ),
    # arXiv:1911.12126, github.com/xiaomi-automl/FairDARTS: fairdarts/train_search.py.
    "fairdarts": Published(
        Config(
            batch_size=128,
            learning_rate=0.005,
            alpha_learning_rate=3e-3,
            alpha_beta1=0.9,
            relaxation="sigmoid",
            penalty_weight=10.0,
            threshold=0.85,
        ),
        space="darts_without_none",
    ),
    # arXiv:1907.05737, github.com/yuhuixu1993/PC-DARTS: train_search.py.
    "pcdarts": Published(
        Config(
            batch_size=256,
            learning_rate=0.1,
            alpha_learning_rate=6e-4,
            alpha_warmup=15,
            relaxation="edge_softmax",
            partial=4,
        )
    ),
    # arXiv:1904.12760, github.com/chenxin061/pdarts: train_search.py, as its README calls it. There
    # the architecture gradient is clipped too, to a norm of 5.
    "pdarts": Published(
        Config(
            epochs=25,
            batch_size=96,
            learning_rate_end=0.0,
            alpha_learning_rate=6e-4,
            alpha_warmup=10,
        ),
        stages=Stages(
            layers=(5, 11, 17), primitives=(8, 5, 3), skip_dropout=(0.1, 0.4, 0.7), skips=2
        ),
    ),
    # arXiv:2108.04392, github.com/ruocwang/darts-pt: sota/cnn, as exp_scripts/darts-proj-sota.sh
    # calls it. There momentum starts anew with the decisions, and an epoch of tuning follows the
    # last of them, which changes no cell.
    "darts_pt": Published(
        Config(selection="perturbation", selection_epochs=5), space="darts_without_none"
    ),
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
    "imagenet": classification.Config(
        skeleton="imagenet",
        channels=48,
        layers=14,
        epochs=250,
        batch_size=128,
        learning_rate=0.1,
        learning_rate_decay=0.97,
        weight_decay=3e-5,
        label_smoothing=0.1,
        drop_path=0.0,
        cutout=0,
        image_size=224,
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
