"""``python -m experiments.benchmark``."""

import signal

from experiments import cli
from experiments.benchmark.command import command

# As Ctrl-C, which ends in order what this has started.
signal.signal(signal.SIGTERM, signal.default_int_handler)
cli.main(command)
