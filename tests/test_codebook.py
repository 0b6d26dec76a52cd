"""The quantizer: codes are what they say, streams exact and as long as promised, what is wrong is refused."""

import json
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from samples import corners, refused
from sklearn.utils.estimator_checks import check_estimator
from vector_quantize_pytorch import ResidualVQ

from emolib import metrics
from emolib.codebook import ResidualQuantizer, RoutedQuantizer, measures, pack, training, unpack
from emolib.codebook.coding import TOTAL, bits_per_row, codes_at_bits, fit_model, ideal_bits

LAMS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 2.0)


def clouds(n_rows: int = 600, width: int = 12, seed: int = 0) -> np.ndarray:
    """Rows around a few centres, with a large common offset and columns of differing spread."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((6, width)) * np.linspace(0.5, 3, width)
    return 50 + centres[rng.integers(6, size=n_rows)] + 0.4 * rng.standard_normal((n_rows, width))


@pytest.fixture(scope="module")
def book() -> ResidualQuantizer:
    return ResidualQuantizer(4, 16).fit(clouds(2000))


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    return clouds(300, seed=1)


def cost(book: ResidualQuantizer, X: np.ndarray, codes: np.ndarray, lam: float) -> float:
    lost = np.square((X - book.decode(codes)) / book.scale_).sum()
    return float(lost + lam * book.bits(codes).sum())


def test_the_checks_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some checks give too few rows for four codes, which warns
        check_estimator(ResidualQuantizer(n_stages=2, n_codes=4))


# ------------------------------------------------------------------------------------- codes


def test_each_code_is_the_nearest_and_each_stage_loses_less(book, X):
    codes, left = book.encode(X), book.centred(X)
    assert codes.shape == (len(X), 4) and codes.dtype == np.int16
    lost = [np.square(left).sum()]
    for stage, column in zip(book.codes_, codes.T, strict=True):
        far = np.square(left[:, None] - stage).sum(axis=2)
        assert np.allclose(far[np.arange(len(X)), column], far.min(axis=1), atol=1e-5)
        left = left - stage[column]
        lost.append(np.square(left).sum())
    assert all(after < before for before, after in pairwise(lost)) and lost[-1] < 0.2 * lost[0]
    assert np.allclose(book.centred(book.decode(codes)), book.centred(X) - left, atol=1e-4)


def test_a_higher_lambda_costs_fewer_bits_and_more_distortion(book, X):
    tables = [book.encode(X, lam) for lam in LAMS]
    bits = [book.bits(table).sum() for table in tables]
    lost = [np.square(X - book.decode(table)).sum() for table in tables]
    assert all(b <= a * 1.02 for a, b in pairwise(bits)) and bits[-1] < 0.1 * bits[0]
    assert all(b >= a * 0.999 for a, b in pairwise(lost))


def test_lambda_is_as_good_as_any_fixed_number_of_stages(book, X):
    """A greedy search and a fixed number of stages, which needs no stops, may win by a few per cent."""
    fixed = [np.where(np.arange(4) < n, book.encode(X), -1) for n in range(5)]
    for lam in (0.002, 0.01, 0.03, 0.5):
        best = min(cost(book, X, codes, lam) for codes in fixed)
        assert cost(book, X, book.encode(X, lam), lam) <= 1.05 * best


def test_no_code_is_idle_after_training():
    rng = np.random.default_rng(0)
    rows = rng.standard_t(3, size=(4000, 8)).astype(np.float32)  # outliers draw codes away from the rest
    quantizer = ResidualQuantizer(n_stages=8, n_codes=64).fit(rows)
    assert (training.usage(quantizer.encode(rows), 64) == 0).mean() <= 0.01


def test_it_is_level_with_vector_quantize_pytorch_at_equal_rate():
    """On real frames, `emolib bench codebook` shows it ahead."""
    train, test = clouds(3000).astype(np.float32), clouds(600, seed=1).astype(np.float32)
    mean = train.mean(axis=0)
    torch.manual_seed(0)
    options = {"kmeans_init": True, "kmeans_iters": 10, "threshold_ema_dead_code": 2}
    theirs = ResidualVQ(dim=12, num_quantizers=4, codebook_size=32, **options).train()
    for _ in range(12):
        for batch in torch.randperm(len(train)).split(1024):
            theirs(torch.from_numpy(train[batch] - mean))
    with torch.no_grad():
        found = theirs.eval()(torch.from_numpy(test - mean))[0].numpy()
    ours = ResidualQuantizer(n_stages=4, n_codes=32).fit(train)
    assert np.square(ours.transform(test) - test).sum() <= 1.03 * np.square(found - (test - mean)).sum()


# ------------------------------------------------------------------------------------- entropy and streams


def test_probabilities_are_whole_numbers_that_add_up(book, X):
    symbols = book.encode(X, 0.02).astype(int)
    model = fit_model(np.where(symbols < 0, 16, symbols), 16)
    assert model.stages.dtype == np.uint16 and model.stages.min() >= 1
    assert (model.stages.sum(axis=-1, dtype=int) == TOTAL).all()
    assert (model.probabilities(1, np.arange(17)).sum(axis=1, dtype=np.float64) == 1).all()


def test_a_context_that_says_nothing_costs_next_to_nothing():
    rng, n_codes = np.random.default_rng(0), 32
    seen, other = (rng.integers(n_codes, size=(n, 3)) for n in (200, 2000))
    counts = np.stack([np.bincount(seen[:, q], minlength=n_codes + 1) + 0.5 for q in range(3)])
    chances = counts / counts.sum(axis=1, keepdims=True)
    without = -np.log2(np.stack([chances[q][other[:, q]] for q in range(3)])).sum(axis=0)
    assert fit_model(seen, n_codes).code_lengths(other).mean() < 1.02 * without.mean()


def test_a_stream_decodes_to_its_codes_and_is_as_long_as_estimated(book, X):
    for lam in LAMS:
        for rows in (X, X[:1], X[:0]):
            codes = book.encode(rows, lam) if len(rows) else book.blank(0)
            data, estimate = pack(book, codes), book.bits(codes).sum() / 8
            assert np.array_equal(unpack(book, data), codes)
            assert -1 <= len(data) - estimate <= max(16, 0.02 * estimate)


def test_every_altered_byte_and_every_cut_is_refused(book, X):
    data = book.compress(X[:20], 0.005)
    flipped = [data[:at] + bytes([data[at] ^ 128]) + data[at + 1 :] for at in range(len(data))]
    for harmed in (*flipped, *(data[:at] for at in range(len(data))), data + b"\0"):
        refused(r"stream|codebook|format", book.decompress, harmed)
    again, same, other = (ResidualQuantizer(4, 16, seed=seed).fit(clouds()) for seed in (0, 0, 1))
    assert again.fingerprint == same.fingerprint != other.fingerprint
    refused("decode with the codebook that encoded", other.decompress, data)


def test_any_rate_can_be_asked_for():
    X = clouds(144, 10)
    book = ResidualQuantizer(n_stages=4, n_codes=8).fit(X)
    for bits in (1.5, 3.0, 7.0):  # below 3, no lambda gives a rate: a code costs that much or is not sent
        codes = codes_at_bits(lambda lam: book.encode(X, lam), book, bits)
        assert 0.95 * bits - 0.1 < bits_per_row(book, codes) <= bits


def test_a_router_takes_the_cheapest_book_and_its_stream_is_exact(X):
    train, high = clouds(), X[:, -1] >= 50
    halves = {"low": train[train[:, -1] < 50], "high": train[train[:, -1] >= 50]}
    routed = RoutedQuantizer({name: ResidualQuantizer(4, 16).fit(rows) for name, rows in halves.items()})
    for lam in LAMS:
        codes = routed.encode(X, lam)
        data, estimate = pack(routed, codes), ideal_bits(routed, codes).sum() / 8
        assert np.array_equal(unpack(routed, data), codes) and len(data) - estimate <= 16
    assert (routed.encode(X)[:, 0] == high).mean() > 0.9
    asked = routed.encode(X, 0.01, names=np.where(high, "high", "low"))
    assert np.array_equal(asked[:, 0], high)
    assert np.square(routed.decode(asked) - X).sum() < 0.5 * np.square(X - X.mean(0)).sum()
    refused("no book 'other'; expected one of low, high", routed.encode, X, names=["other"] * len(X))


# ------------------------------------------------------------------------------------- saved


def test_a_saved_codebook_decodes_the_same_in_another_process(book, X, tmp_path):
    book.save(tmp_path / "book")
    (tmp_path / "x.emoq").write_bytes(book.compress(X, 0.01))
    code = (
        "import sys, numpy as np; from pathlib import Path; from emolib.codebook import ResidualQuantizer\n"
        "p = Path(sys.argv[1]); book = ResidualQuantizer.load(p / 'book')\n"
        "np.save(p / 'y.npy', book.decompress((p / 'x.emoq').read_bytes()))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert np.array_equal(np.load(tmp_path / "y.npy"), book.decode(book.encode(X, 0.01)))
    loaded = ResidualQuantizer.load(tmp_path / "book")
    assert loaded.get_params() == book.get_params()
    assert np.array_equal(loaded.encode(X, 0.02), book.encode(X, 0.02))


def test_what_was_altered_in_a_saved_codebook_is_found(book, tmp_path):
    folder = book.save(tmp_path / "book")
    config = json.loads((folder / "config.json").read_text())
    for change, message in (({"scale_": 1.01}, "altered"), ({"groups": 2}, "groups=2 can't be read")):
        (folder / "config.json").write_text(json.dumps(config | change))
        refused(message, ResidualQuantizer.load, folder)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    refused("damaged", ResidualQuantizer.load, folder)
    with pytest.raises(FileNotFoundError, match="no codebook"):
        ResidualQuantizer.load(tmp_path / "none")


# ------------------------------------------------------------------------------------- odd input


def test_what_is_wrong_is_refused(book, X):
    hollow = X.copy()
    hollow[3, 2] = np.nan
    tables = {"shape": [[0, 1]], "from": [[0, 1, 2, 16]], "follows": [[0, -1, 2, 3]], "integers": [[0.0] * 4]}
    options = {"n_stages": 0}, {"n_codes": 0}, {"n_codes": 5000}, {"n_codes": 2.5}
    wrong = [(lambda o=o: ResidualQuantizer(**o).fit(X), "=.*expected a whole number") for o in options]
    wrong += [(lambda lam=lam: book.encode(X, lam), "lam=.*expected 0") for lam in (-0.1, np.nan, np.inf)]
    wrong += [(lambda table=table: book.decode(table), word) for word, table in tables.items()]
    wrong += [
        (lambda: ResidualQuantizer().fit(hollow), "NaN"),
        (lambda: ResidualQuantizer().fit(X[:1]), "minimum of 2"),
        (lambda: book.encode(X[:, :5]), "features"),
        (lambda: RoutedQuantizer({"a": book, "b": ResidualQuantizer(3, 4).fit(X)}), "2 books of 2 shapes"),
    ]
    for call, message in wrong:
        refused(message, call)


def test_fewer_rows_than_codes_train_fewer_codes_and_say_so():
    with pytest.warns(UserWarning, match="20 rows are too few for 256 codes"):
        quantizer = ResidualQuantizer().fit(clouds(20))
    codes = quantizer.encode(clouds(3))
    assert quantizer.n_codes_ == 10 and np.array_equal(unpack(quantizer, pack(quantizer, codes)), codes)


def test_constant_columns_and_constant_rows_are_kept():
    X, same = clouds(), np.full((40, 5), 3.5)
    X[:, 3] = -7.25
    assert np.allclose(ResidualQuantizer(4, 16).fit(X).transform(X)[:, 3], -7.25)
    assert np.allclose(ResidualQuantizer(4, 16).fit(same).transform(same), 3.5)


# ------------------------------------------------------------------------------------- measures


@pytest.fixture(scope="module")
def clips() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    X, manifest = corners()
    X, labels = X - X.mean(axis=0), manifest["emotion"].to_numpy()
    return X, labels, measures.class_centroids(X, labels)


def test_similarity_of_copies_opposites_and_nothing():
    X = np.array([[1.0, 2.0], [1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    after = np.array([[2.0, 4.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert np.allclose(measures.similarity(X, after), [1, -1, 0, 1])
    assert measures.distortion(X, X) == 0 and measures.distortion(X, 0 * X) == 1


def test_moving_every_class_to_the_mean_is_shrinking_and_nothing_else(clips):
    X, labels, centroids = clips
    inward = centroids.to_numpy().mean(axis=0) - centroids.loc[labels].to_numpy()
    for share in (0.0, 0.3, 1.0):
        moved = measures.drift(X, X + share * inward, labels, centroids)
        assert np.allclose(moved["shrinking"], share)
        assert np.allclose(moved.filter(like="beyond ").fillna(0), 0)
        table = moved.assign(emotion=labels, speaker=np.arange(len(labels)) % 6)
        assert measures.excess_drift(table).value >= 0  # neutral is in the middle


def test_moving_to_a_class_is_drift_there(clips):
    X, labels, centroids = clips
    way = centroids.loc["sad"].to_numpy() - centroids.loc[labels].to_numpy()
    moved = measures.drift(X, X + 0.4 * way, labels, centroids)
    assert np.allclose(moved.loc[labels != "sad", "to sad"], 0.4)
    assert moved.loc[labels == "sad", "to sad"].isna().all()
    # on the way to sad they all pass the middle, where neutral is: only drift beyond shrinking shows it
    table = moved.assign(emotion=labels, speaker=np.arange(len(labels)) % 6)
    assert measures.excess_drift(table, "to", "sad").value < 0
    assert measures.excess_drift(table, "beyond", "sad").value > 0.05
    refused("no centroid of angry", measures.drift, X, X, labels, centroids.drop("angry"))
    refused("the mean of all", measures.drift, X, X, labels, 0 * centroids)
    refused("no class 'bored'", measures.excess_drift, table, "to", "bored")


def test_an_excess_is_over_each_other_class_and_its_interval_is_the_lowest():
    """No rival is chosen on the clips that are judged: all are compared, and all must lie behind."""
    rng, classes = np.random.default_rng(0), ["a", "b", "c", "neutral"]
    labels = np.tile(["a", "b", "c"], 80)
    toward = rng.normal([0.0, 0.1, 0.2, 0.3], 0.1, (240, 4))
    toward[np.arange(240), np.tile([0, 1, 2], 80)] = np.nan
    table = pd.DataFrame(toward, columns=[f"to {name}" for name in classes])
    table = table.assign(emotion=labels, speaker=np.repeat(np.arange(8), 30))
    found = measures.excess_drift(table)
    assert found.value == pytest.approx(0.1, abs=0.05) and 0 < found.low < found.value < found.high < 0.2
    assert np.isnan(measures.excess_drift(table.assign(speaker=table["speaker"] % 4)).low)
    best = measures.advantage(table, "to neutral", "a")
    means = table.groupby("emotion")["to neutral"].mean()
    assert best.value == pytest.approx(means["a"] - means[["b", "c"]].max()) and best.low < best.value


def test_a_mean_over_classes_is_resampled_as_any_other_number():
    rng = np.random.default_rng(0)
    labels, speakers = rng.integers(3, size=90), rng.integers(6, size=90)
    table = pd.DataFrame({"x": rng.normal(size=90), "emotion": labels, "speaker": speakers})
    table.loc[::7, "x"] = np.nan

    def metric(numbers, names):
        return float(np.mean([np.nanmean(numbers[names == name]) for name in range(3)]))

    slow = metrics.speaker_bootstrap(metric, table["x"], labels, speakers)
    assert measures.estimate(table, "x") == pytest.approx(slow)
    flagged = table.assign(flag=rng.random(90) < 0.5, clip=np.arange(90))
    on, off = (flagged[flagged["flag"] == flag].groupby("emotion")["x"].mean().mean() for flag in (1, 0))
    assert measures.contrast(flagged, "x", "flag").value == pytest.approx(on - off)
    ways = pd.concat([flagged.assign(way="a"), flagged.assign(way="b", x=flagged["x"] + 1)])
    gap = measures.compare(ways, "way", "a", "x").loc["b"]
    assert gap[["minus a", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
