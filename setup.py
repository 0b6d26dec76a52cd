"""Put what a checkout ships beside the package into its wheel: ``emolib/shipped``, where `paths` looks."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithShipped(build_py):
    """Copy the embeddings, and those models that have a card: what runs train has none."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for folder in (
                Path("data/embeddings"),
                Path("data/results"),
                *(card.parent for card in Path("models").glob("*/README.md")),
            ):
                shutil.copytree(folder, Path(self.build_lib, "emolib/shipped", folder), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithShipped})
