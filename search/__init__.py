"""DARTS architecture search on JAX and Flax."""

from jaxcv.genotype import Genotype
from jaxcv.models import CellNetwork
from search.discretize import discretize, random_genotype
from search.runner import Result, best, run, run_many
from search.space import CellSpace, Space, darts
from search.step import Config
from search.supernet import SearchNetwork

__all__ = [
    "CellNetwork",
    "CellSpace",
    "Config",
    "Genotype",
    "Result",
    "SearchNetwork",
    "Space",
    "best",
    "darts",
    "discretize",
    "random_genotype",
    "run",
    "run_many",
]
