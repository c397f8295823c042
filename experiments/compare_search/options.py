"""The options of a comparison."""

from dataclasses import dataclass, field

import search
from experiments.compare_search.methods import METHODS
from jaxcv.functional._arguments import positive
from jaxcv.training import classification
from search import Config


@dataclass(frozen=True)
class Options:
    """What to compare, on what, and at what cost."""

    data: str = "digits"
    """Data set: digits, a TFDS name such as cifar10, an image folder, or an .npz file."""
    data_dir: str | None = None
    """Where TFDS data sets are; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    images: int = 0
    """Training images to use, the first so many; 0 for all."""
    folder: str = "runs/compare_search"
    """Where the run goes: a folder for each job, the table, its picture."""
    methods: tuple[str, ...] = ()
    """What to compare; by default all methods that can be."""
    table: str = ""
    """A tabular benchmark to compare strategies on instead of images: an .npz or .csv file of
    NAS-Bench-201, of which they see the validation accuracy after 12 epochs and are judged by the
    test accuracy after 200."""
    trials: int = 100
    """Of each black-box search."""
    seeds: int = 3
    """Searches by each method, each with a training of what it found."""
    seed: int = 0
    """The first seed."""
    space: str = "darts"
    """What to search, of methods that leave the choice: darts, one of s1 to s4, or, of black-box
    ones that train every trial, any other discrete space for images, such as nasbench201, macro or
    hierarchical."""
    jobs: int = 1
    """Jobs at a time, each in a process of its own; they share the device."""
    search: Config = field(default_factory=Config)
    """What all gradient methods share, each of which changes only what makes it that method; and
    how shared weights are trained."""
    brief: classification.Config = field(default_factory=classification.Config)
    """Of the trainings that score the trials of a black-box search, on one half of the training
    images, by the other."""
    train: classification.Config = field(default_factory=classification.Config)
    """Of every network that is found."""
    proxies: bool = True
    """Whether to score every network by zero-cost proxies, too, before it is trained, which costs a
    compilation; so that their ranking can be held against that of the trained networks."""

    def __post_init__(self) -> None:
        positive(seeds=self.seeds, jobs=self.jobs, trials=self.trials)
        if self.space == "recurrent" or self.space not in search.DISCRETE_SPACES:
            allowed = [name for name in search.DISCRETE_SPACES if name != "recurrent"]
            raise ValueError(f"space={self.space!r}; allowed are {', '.join(allowed)}")
        if self.images < 0:
            raise ValueError(f"images={self.images!r}; allowed is at least 0")
        for name in self.methods:
            if name not in self.possible:
                known = name in METHODS and not self.table
                why = f", which needs {METHODS[name].needs(self.space)}" if known else ""
                raise ValueError(
                    f"methods has {name!r}{why}; allowed are {', '.join(self.possible)}"
                )
            if self.methods.count(name) > 1:
                raise ValueError(f"methods has {name!r} twice; allowed is each once")

    @property
    def possible(self) -> tuple[str, ...]:
        """The methods that can be compared on the table, or in the space on images."""
        return tuple(
            name
            for name, method in METHODS.items()
            if (method.tabular if self.table else not method.needs(self.space))
        )

    @property
    def chosen(self) -> tuple[str, ...]:
        """The methods to compare."""
        return self.methods or self.possible
