"""DARTS architecture search on JAX and Flax."""

from jaxcv.genotype import Genotype
from jaxcv.models import CellNetwork
from search.config import Config
from search.discretize import discretize
from search.limits import network_counts, network_limits
from search.progressive import Stages, run_stages
from search.runner import Result, best, run, run_many
from search.space import CellSpace, Space, darts
from search.spaces import (
    DISCRETE_SPACES,
    SPACES,
    create_discrete,
    create_space,
    random_genotype,
)
from search.supernet import SearchNetwork

__all__ = [
    "DISCRETE_SPACES",
    "SPACES",
    "CellNetwork",
    "CellSpace",
    "Config",
    "Genotype",
    "Result",
    "SearchNetwork",
    "Space",
    "Stages",
    "best",
    "create_discrete",
    "create_space",
    "darts",
    "discretize",
    "network_counts",
    "network_limits",
    "random_genotype",
    "run",
    "run_many",
    "run_stages",
]
