"""Two trainings that differ in their seed and run at the same time give what each gives alone.

Every training that a notebook or a command starts is run four times, in processes of their own: two in homes
of their own, and two at the same time in one home. The last two wait for each other before every file that
either moves to its place, so that their checkpoints and results come in turns.
"""

import contextlib
import hashlib
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from samples import HIFIGAN, MAPPING, NANO, PRETRAINING, VOCODING, save_model, write_corpus
from typer.testing import CliRunner

from emolib import features, finetune, generate, mapper, paths, ser, steering, store
from emolib.cli import app
from emolib.cli.app import default_folder
from emolib.files import write_file
from emolib.studies import augmentation

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [f"emolib.{name}" for name in ("cli", "finetune", "pretrain", "steering", "studies.augmentation")]
)
#: Longer than a process needs from one file to the next; one that waits for a lock comes later or never.
WAIT_S = 1.0

MAPPER = replace(
    MAPPING, slow_dilations=(1,), crop_frames=20, steps=6, scales=(2,), validate_every=2, checkpoint_every=2,
    sample_every=99,
)  # fmt: skip
GENERATOR = generate.Settings(
    vae_widths=(8, 8), latent_channels=8, vae_steps=4, vae_every=2, vae_batch=4, widths=(8, 8), steps=4,
    batch=4, average=0.9, checkpoint_every=2, preview_every=0,
)  # fmt: skip
PRETRAIN = replace(PRETRAINING, n_units=4, crop_s=0.3, steps=4, validate_every=2, checkpoint_every=2)
VOCODER = replace(
    VOCODING, dilations=(1,), segment_frames=8, stft_sizes=(256,), steps=4, refine=0, validate_every=4,
    validation_clips=1,
)  # fmt: skip
TUNING = finetune.Settings(
    free_layers="all", n_epochs=2, batch_size=4, crop_s=0.2, bottleneck=8, warm_start=False
)
STUDY = augmentation.Settings(
    (augmentation.CLASSICAL, augmentation.BOTH), shares=(1.0,), generated_shares=(1.0,), seeds=(1,),
    flattering=(), generator=GENERATOR, steps=2,
    recogniser=ser.ResNetSettings(widths=(4, 8), steps=2, batch_size=4, crop=16),
)  # fmt: skip


def saved(folder: Path) -> list[np.ndarray]:
    """Return the weights of every network that was saved under a folder."""
    found = sorted(folder.rglob("model.safetensors"))
    return [value.numpy() for path in found for value in load_file(path).values()]


def frames(clips: pd.DataFrame, encoder: str) -> store.FeatureStore:
    return features.extract(clips, encoder, layers=[1], frames=True, url=Path(encoder) / "store").store


def train_mapper(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    read, settings = frames(clips, encoder), replace(MAPPER, seed=seed)
    folder = mapper.default_folder(clips, read, 1, settings)
    mapper.train(clips, read, 1, folder, settings, device="cpu")
    return saved(folder)


def train_mapper_in_one_folder(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    folder, settings = paths.home() / "mapper", replace(MAPPER, seed=seed)
    made = mapper.train(clips, frames(clips, encoder), 1, folder, settings, device="cpu", replace=True)
    return list(made._saved()[1].values())


def train_generator(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    settings, (mels, _) = replace(GENERATOR, seed=seed), generate.load_mels(clips, ["angry", "calm"])
    folder = default_folder("generator", clips, ["angry", "calm"], settings)
    generate.train(mels, folder, settings, device="cpu")
    return saved(folder)


def pretrain_encoder(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    settings = replace(PRETRAIN, seed=seed)
    folder = default_folder("pretrained", clips, settings)
    return saved(NANO.pretrain(clips, folder, settings, device="cpu", progress=False).folder)


def train_vocoder(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    settings = replace(VOCODER, seed=seed)
    folder = default_folder("vocoder", clips, [], settings)
    return saved(HIFIGAN.train_vocoder(clips, folder, settings, device="cpu", progress=False).folder)


def tune(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    settings = replace(TUNING, seed=seed)
    folder = default_folder("finetuned", clips, encoder, settings)
    done = finetune.finetune(clips, folder, settings, encoder=encoder, device="cpu")
    return [done.curve["score"].to_numpy(), *saved(folder)]


def train_codebook(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    clips.to_csv(table := paths.home() / f"clips-{seed}.csv", index=False)
    words = ["quantize", "--manifest", table, "--encoder", "logmel", "--layer", 0, "--pooled", "--stages", 2]
    words += ["--codes", 4, "--seed", seed, "--device", "cpu"]
    assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0
    return saved(paths.trained("codebook-folder-logmel-layer0-pooled", 2, 4, seed))


def study(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    mels, _ = generate.load_mels(clips, ["angry", "calm"])
    genders = {name: "fm"[int(name) % 2] for name in clips["speaker"]}
    grid = augmentation.Grid(mels, genders, paths.home() / "study", STUDY, device="cpu", seed=seed)
    for cell in grid.cells:
        grid.run(cell)
    found = [grid.read(cell) for cell in grid.cells]
    return [np.array(one["predicted"]) for one in found] + [np.array(one["clips"]) for one in found]


def steer_and_judge(clips: pd.DataFrame, encoder: str, seed: int) -> list[np.ndarray]:
    """Learn all parts of steering from all speakers but one or two, which the seed tells."""
    # of all clips, as the runs share a store: which clips are encoded together may change a frame's last bit
    features.extract(clips, encoder, layers=[1], frames=True, device="cpu")
    names = sorted(set(clips["speaker"]))[seed + 1 :]
    makers = clips[clips["speaker"].isin(names)].reset_index(drop=True)
    steerer = steering.preparation.latent_steerer(
        makers, "calm", "angry", encoder=encoder, layer=1, device="cpu"
    )
    judge = steering.judge(clips, names)
    measures = np.random.default_rng(0).normal(size=(3, len(judge._discriminant.mean)))
    found = [judge.predict_proba_measures(measures), np.array(judge.speakers_)]
    return [*steerer.mapper._saved()[1].values(), *found]


TRAININGS: list[Callable[[pd.DataFrame, str, int], list[np.ndarray]]] = [
    train_mapper, train_mapper_in_one_folder, train_generator, pretrain_encoder, train_vocoder,
    tune, train_codebook, study, steer_and_judge,
]  # fmt: skip


def run(clips: pd.DataFrame, encoder: str, seed: int, home: Path, results: Path, barriers: Any) -> None:
    """Run every training in a process of its own, in step with another one where there are barriers."""
    torch.set_num_threads(1)
    os.environ["EMOLIB_HOME"] = str(home)
    home.mkdir(exist_ok=True)
    move = Path.replace
    for training, barrier in zip(TRAININGS, barriers or [None] * len(TRAININGS), strict=True):

        def in_step(self: Path, target: Path, barrier: Any = barrier) -> Path:
            meet(barrier, WAIT_S)
            return move(self, target)

        meet(barrier, 60)
        Path.replace = in_step  # type: ignore[method-assign]
        try:
            parts = [np.ascontiguousarray(array).tobytes() for array in training(clips, encoder, seed)]
            found = hashlib.sha256(b"".join(parts)).hexdigest()
        except Exception:
            found = f"seed {seed} failed: {traceback.format_exc()}"
        Path.replace = move  # type: ignore[method-assign]
        write_file(results / f"{training.__name__}-{seed}", found.encode())


def meet(barrier: Any, wait_s: float) -> None:
    if barrier is not None:
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(wait_s)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Run all trainings with both seeds, alone and together, and return the folder of what came of each."""
    folder = tmp_path_factory.mktemp("runs")
    clips = write_corpus(folder / "corpus", n_clips=24)
    clips["speaker"] = [f"{i // 2 % 6 + 1:02d}" for i in range(len(clips))]
    encoder = str(save_model(folder / "encoder", num_hidden_layers=2))
    features.extract(clips, encoder, layers=[1], frames=True, url=Path(encoder) / "store")
    barriers = [PROCESSES.Barrier(2) for _ in TRAININGS]
    kinds = ("alone", ("one", "another"), None), ("together", ("both", "both"), barriers)
    for kind, homes, shared in kinds:
        words = [(clips, encoder, seed, folder / homes[seed], folder / kind, shared) for seed in (0, 1)]
        jobs = [PROCESSES.Process(target=run, args=args) for args in words]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(300)
            assert job.exitcode == 0
    return folder


@pytest.mark.parametrize("name", [training.__name__ for training in TRAININGS])
def test_two_seeds_at_once_give_what_each_gives_alone(name, results):
    kinds = ("alone", "together")
    alone, together = ([(results / kind / f"{name}-{n}").read_text() for n in (0, 1)] for kind in kinds)
    assert not [found for found in alone if "failed" in found] and alone[0] != alone[1]
    assert together == alone
