"""The commands, ``python -m experiments.<command>``; ``python -m experiments`` lists them."""

import os
import signal
import sys
from typing import Any


def _stop(*_: Any) -> None:
    os.write(2, b"stopped\n")
    os._exit(130)


def loaded() -> None:
    """From now on Ctrl-C raises a ``KeyboardInterrupt`` again."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# ``sys.argv`` begins so while ``python -m`` looks for a module of this package. A command takes
# seconds to load, and what Ctrl-C raises within an import is not for people to read.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _stop)
