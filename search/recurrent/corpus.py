"""Text as numbers: three files, the vocabulary of the first, streams side by side."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxcv.functional._arguments import positive

END = "<eos>"
UNKNOWN = "<unk>"
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Corpus:
    """A text in three parts.

    Attributes:
        name: what it is called.
        vocabulary: the words, by number.
        train, valid, test: numbers of words, int32 [words].
    """

    name: str
    vocabulary: tuple[str, ...]
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def load(folder: str) -> Corpus:
    """The corpus in a folder: train.txt, valid.txt and test.txt, or the same with the ending .gz.

    Words are what blanks separate. A line ends with the word "<eos>". The vocabulary is that of the
    training file; other words of the other files count as "<unk>", if it has that.

    Raises:
        ValueError: for a file that is missing, is no text, or is empty, or a word that training
            does not know.
    """
    numbers: dict[str, int] = {}
    parts = []
    for split in _SPLITS:
        path = _find(Path(folder), split)
        parts.append(np.array([*_numbered(path, numbers, learn=split == "train")], np.int32))
        if len(parts[-1]) < 2:
            raise ValueError(f"{str(path)!r} has no words; allowed is a file with some")
    return Corpus(Path(folder).name, tuple(numbers), *parts)


def streams(words: np.ndarray, batch_size: int) -> np.ndarray:
    """A text as streams of equal length, one after the other in the text: [rows, batch_size]. Words
    that are left over at its end are left out.

    Raises:
        ValueError: for a batch size below 1, or one that leaves streams of fewer than two words.
    """
    positive(batch_size=batch_size)
    rows = len(words) // batch_size
    if rows < 2:
        raise ValueError(
            f"batch_size={batch_size!r}; allowed are 1 to {len(words) // 2}, half of the words"
        )
    return words[: rows * batch_size].reshape(batch_size, rows).T


def _find(folder: Path, split: str) -> Path:
    for ending in (".txt", ".txt.gz"):
        path = folder / f"{split}{ending}"
        if path.is_file():
            return path
    needed = ", ".join(f"{name}.txt" for name in _SPLITS)
    raise ValueError(
        f"data={str(folder)!r} has no {split}.txt or {split}.txt.gz; allowed is a folder with "
        f"{needed}, or the same with the ending .gz"
    )


def _numbered(path: Path, numbers: dict[str, int], *, learn: bool) -> Iterator[int]:
    for count, line in enumerate(_lines(path), 1):
        for word in [*line.split(), END]:
            if learn:
                yield numbers.setdefault(word, len(numbers))
            elif word in numbers or UNKNOWN in numbers:
                yield numbers[word] if word in numbers else numbers[UNKNOWN]
            else:
                raise ValueError(
                    f"{str(path)!r} has the word {word!r} in line {count}; allowed are those of "
                    f"the training file, or any if that has {UNKNOWN}"
                )


def _lines(path: Path) -> Sequence[str]:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode().splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read ({error}); allowed is text in UTF-8, or gzip of it"
        ) from None
