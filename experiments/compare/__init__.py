"""The comparison of all models: python -m experiments.compare."""
