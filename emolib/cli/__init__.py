"""The command line: each command a few lines over the package, three modules of them."""

from emolib.cli import evidence, models, runs
from emolib.cli.app import app

__all__ = ["app", "evidence", "models", "runs"]
