"""The settings of a search."""

from dataclasses import dataclass
from typing import Literal

from jaxcv.functional._arguments import check_dtype, positive
from search.bilevel import GRADIENTS
from search.relaxation import RELAXATIONS


@dataclass(frozen=True)
class Config:
    """How to search. The defaults are those of arXiv:1806.09055 on CIFAR-10."""

    channels: int = 16
    """Channels of the first cell."""
    layers: int = 8
    """Number of cells."""
    epochs: int = 50
    """Passes over the half of the images that the weights learn from."""
    batch_size: int = 64
    """Images in a batch, of either half."""
    learning_rate: float = 0.025
    """Of the weights, at the start; falls along a cosine, epoch by epoch."""
    learning_rate_end: float = 0.001
    """Of the weights, at the end."""
    momentum: float = 0.9
    """Of the weights' gradients."""
    weight_decay: float = 3e-4
    """Of the weights, added to their gradient."""
    clip: float = 5.0
    """Largest norm of the weights' gradient."""
    relaxation: str = "softmax"
    """How architecture weights become mixing weights: softmax, gumbel, dirichlet, sigmoid or
    edge_softmax."""
    penalty_weight: float = 0.0
    """Of the relaxation's penalty in the validation loss: the zero-one loss of sigmoid, the
    divergence from Dir(1) of dirichlet."""
    partial: int = 1
    """One in so many channels goes through the mixed operations, the others past them."""
    skip_dropout: float = 0.0
    """Dropout on skip connections at the start; falls over the search."""
    threshold: float | None = None
    """Least mixing weight of an edge of the genotype, if any."""
    alpha_warmup: int = 0
    """Epochs at the start in which the architecture weights stay as they are."""
    alpha_learning_rate: float = 3e-4
    """Of the architecture weights (Adam)."""
    alpha_beta1: float = 0.5
    """Decay of the architecture gradients' mean."""
    alpha_beta2: float = 0.999
    """Decay of their squares' mean."""
    alpha_weight_decay: float = 1e-3
    """Of the architecture weights, added to their gradient."""
    gradient: str = "first_order"
    """Of the architecture weights: first_order, second_order (by a finite difference, as
    published), unrolled (exact), neumann or conjugate_gradient (implicit)."""
    gradient_steps: int = 1
    """Steps that unrolled looks ahead, terms of neumann, iterations of conjugate_gradient."""
    damping: float = 1.0
    """Added to the diagonal of the Hessian by neumann and conjugate_gradient."""
    watch_every: int = 0
    """Epochs between looks at what a search collapses by: the largest eigenvalue of the validation
    loss's Hessian in the architecture weights, and the discretized supernet's accuracy; 0 for
    none."""
    watch_spectrum: bool = False
    """Whether to look at all eigenvalues then, by a product with the Hessian for each."""
    early_stop: bool = False
    """Whether to stop where that eigenvalue grows as before a collapse (arXiv:1909.09656)."""
    selection: Literal["weights", "perturbation"] = "weights"
    """What of the supernet stays: that of the largest mixing weights, or that whose removal costs
    the most accuracy, decided edge by edge after the search (arXiv:2108.04392)."""
    selection_epochs: int = 5
    """Epochs of search between two rounds of decisions by perturbation."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the network computes in; parameters, batch statistics and losses are float32."""

    def __post_init__(self) -> None:
        sizes = ("channels", "layers", "epochs", "batch_size", "gradient_steps")
        positive(**{name: getattr(self, name) for name in sizes})
        for name in ("learning_rate", "clip", "alpha_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is a positive number")
        for name in ("damping", "weight_decay", "alpha_weight_decay", "learning_rate_end"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is 0 or more")
        for name in ("momentum", "alpha_beta1", "alpha_beta2", "skip_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is a number in [0, 1)")
        check_dtype(self.dtype)
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient={self.gradient!r}; allowed are {', '.join(GRADIENTS)}")
        if self.watch_every < 0:
            raise ValueError(f"watch_every={self.watch_every!r}; allowed is at least 0")
        for name in ("watch_spectrum", "early_stop"):
            if getattr(self, name) and not self.watch_every:
                raise ValueError(f"{name}=True with watch_every=0; allowed is with at least 1")
        self._check_relaxation()
        self._check_selection()

    def _check_relaxation(self) -> None:
        positive(partial=self.partial)
        if self.relaxation not in RELAXATIONS:
            raise ValueError(
                f"relaxation={self.relaxation!r}; allowed are {', '.join(RELAXATIONS)}"
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold!r}; allowed is a number in [0, 1]")
        for name in ("alpha_warmup", "penalty_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)!r}; allowed is at least 0")
        if self.alpha_warmup and self.alpha_warmup >= self.epochs:
            raise ValueError(
                f"alpha_warmup={self.alpha_warmup!r} with epochs={self.epochs!r}; allowed are fewer"
            )

    def _check_selection(self) -> None:
        if self.selection not in ("weights", "perturbation"):
            raise ValueError(f"selection={self.selection!r}; allowed are weights and perturbation")
        if self.selection_epochs < 0:
            raise ValueError(f"selection_epochs={self.selection_epochs!r}; allowed is at least 0")
        # Both choose by mixing weights.
        for name, unset in (("early_stop", False), ("threshold", None)):
            if self.selection == "perturbation" and getattr(self, name) != unset:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} with selection='perturbation'; allowed is "
                    "with selection='weights'"
                )
