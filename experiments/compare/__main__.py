"""python -m experiments.compare"""

from experiments import cli
from experiments.compare.command import command

if __name__ == "__main__":
    cli.main(command)
