"""The recurrent cell of DARTS (arXiv:1806.09055): its search, and language models of it."""

from search.recurrent.cell import RecurrentCell, SearchCell
from search.recurrent.corpus import Corpus
from search.recurrent.corpus import load as load_corpus
from search.recurrent.dropout import Dropout
from search.recurrent.model import LanguageModel
from search.recurrent.runner import best, create_run, load, run, train
from search.recurrent.space import recurrent, recurrent_cell
from search.recurrent.step import Config as SearchConfig
from search.recurrent.training import Config as TrainConfig
from search.recurrent.training import network

__all__ = [
    "Corpus",
    "Dropout",
    "LanguageModel",
    "RecurrentCell",
    "SearchCell",
    "SearchConfig",
    "TrainConfig",
    "best",
    "create_run",
    "load",
    "load_corpus",
    "network",
    "recurrent",
    "recurrent_cell",
    "run",
    "train",
]
