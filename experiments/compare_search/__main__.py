"""``python -m experiments.compare_search``."""

from experiments import cli
from experiments.compare_search.command import command

# Jobs in processes of their own import this module again.
if __name__ == "__main__":
    cli.main(command)
