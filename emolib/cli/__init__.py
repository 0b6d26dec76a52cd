"""The command line: each command a few lines over the package, one module a group of them."""

from emolib.cli import data, features, runs, training
from emolib.cli.app import app

__all__ = ["app", "data", "features", "runs", "training"]
