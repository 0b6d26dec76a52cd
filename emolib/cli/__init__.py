"""The command line: each command a few lines over the package, four modules of them."""

from emolib.cli import data, evidence, models, runs
from emolib.cli.app import app

__all__ = ["app", "data", "evidence", "models", "runs"]
