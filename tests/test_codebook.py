"""The quantizer: codes are what they say, streams exact and as long as promised, what is wrong is refused."""

import json
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from samples import corners, refused
from sklearn.utils.estimator_checks import check_estimator

from emolib import metrics
from emolib.codebook import ResidualQuantizer, RoutedQuantizer, measures, pack, training, unpack
from emolib.codebook.coding import TOTAL, codes_at_bits, fit_model

QUICK = {"n_stages": 4, "n_codes": 16, "n_epochs": 3}
LAMS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 2.0)


def clouds(n_rows: int = 600, width: int = 12, seed: int = 0) -> np.ndarray:
    """Rows around a few centres, with a large common offset and columns of differing spread."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((6, width)) * np.linspace(0.5, 3, width)
    return 50 + centres[rng.integers(6, size=n_rows)] + 0.4 * rng.standard_normal((n_rows, width))


def walk(n_rows: int = 400, width: int = 6, seed: int = 0) -> np.ndarray:
    """A slow sequence, in which a row says much about the next."""
    steps = np.random.default_rng(seed).standard_normal((n_rows, width))
    return np.cumsum(0.3 * steps, axis=0) - 0.15 * np.cumsum(np.cumsum(steps, axis=0) * 1e-3, axis=0)


@pytest.fixture(scope="module", params=["plain", "groups", "frame", "beam"])
def fitted(request) -> tuple[ResidualQuantizer, np.ndarray]:
    options = {"plain": {}, "groups": {"groups": 3}, "frame": {"context": "frame"}, "beam": {"beam": 4}}
    rows = walk if request.param == "frame" else clouds
    return ResidualQuantizer(**QUICK, **options[request.param]).fit(rows()), rows(120, seed=1)


@pytest.fixture(scope="module")
def plain() -> ResidualQuantizer:
    return ResidualQuantizer(**QUICK).fit(clouds(2000))


def cost(quantizer: ResidualQuantizer, X: np.ndarray, codes: np.ndarray, lam: float) -> float:
    lost = np.square((X - quantizer.decode(codes)) / quantizer.scale_).sum()
    return float(lost + lam * quantizer.bits(codes).sum())


def test_the_checks_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some checks give too few rows for four codes, which warns
        check_estimator(ResidualQuantizer(n_stages=2, n_codes=4, n_epochs=1))


# ------------------------------------------------------------------------------------- codes


def test_more_stages_lose_less_and_each_code_is_the_nearest(fitted):
    quantizer, X = fitted
    spread, lost = np.square(X - quantizer.mean_).sum(), []
    for n_stages in range(1, 5):
        codes = quantizer.encode(X, n_stages=n_stages)
        assert codes.shape == (len(X), quantizer.groups * 4) and codes.dtype == np.int16
        assert ((codes.reshape(len(X), -1, 4) >= 0).sum(axis=2) == n_stages).all()
        lost.append(np.square(X - quantizer.decode(codes)).sum() / spread)
    assert all(after < before for before, after in pairwise(lost)) and lost[-1] < 0.2
    if quantizer.groups == quantizer.beam == 1:
        left = quantizer.centred(X)
        for stage, column in zip(quantizer.codes_[0], codes.T, strict=True):
            far = np.square(left[:, None] - stage).sum(axis=2)
            assert np.allclose(far[np.arange(len(X)), column], far.min(axis=1), atol=1e-5)
            left = left - stage[column]


def test_a_higher_lambda_costs_fewer_bits_and_more_distortion(fitted):
    quantizer, X = fitted
    tables = [quantizer.encode(X, lam) for lam in LAMS]
    bits = [quantizer.bits(table).sum() for table in tables]
    lost = [np.square(X - quantizer.decode(table)).sum() for table in tables]
    assert all(b <= a * 1.02 for a, b in pairwise(bits)) and bits[-1] < 0.1 * bits[0]
    assert all(b >= a * 0.999 for a, b in pairwise(lost))


def test_lambda_is_as_good_as_any_fixed_number_of_stages(plain):
    """A greedy search and a fixed number of stages, which needs no stops, may win by a few per cent."""
    X = clouds(500, seed=1)
    for lam in (0.002, 0.01, 0.03, 0.5):
        fixed = [cost(plain, X, plain.encode(X, n_stages=n), lam) for n in range(1, 5)]
        fixed.append(cost(plain, X, plain.blank(len(X)), lam))
        assert cost(plain, X, plain.encode(X, lam), lam) <= 1.05 * min(fixed)


def test_a_wider_beam_is_no_worse():
    train, X, costs = clouds(2000), clouds(400, seed=1), {}
    for beam in (1, 8):
        quantizer = ResidualQuantizer(n_stages=5, n_codes=8, n_epochs=2, beam=beam).fit(train)
        for lam in (0.0, 0.005):
            costs[beam, lam] = cost(quantizer, X, quantizer.encode(X, lam), lam)
    assert costs[8, 0.0] < costs[1, 0.0] and costs[8, 0.005] < 1.01 * costs[1, 0.005]


def test_the_row_before_saves_bits_in_a_sequence():
    train, test = walk(3000), walk(200, seed=5) - walk(200, seed=5).mean(0) + walk(3000).mean(0)
    books = [ResidualQuantizer(2, 16, context=context).fit(train) for context in ("frame", "stage")]
    known, unknown = (len(book.compress(test)) for book in books)
    assert known < 0.9 * unknown


def test_no_code_is_idle_after_training():
    rng = np.random.default_rng(0)
    rows = rng.standard_t(3, size=(4000, 8)).astype(np.float32)  # outliers draw codes away from the rest
    quantizer = ResidualQuantizer(n_stages=8, n_codes=64, n_epochs=3).fit(rows)
    assert (training.usage(quantizer.encode(rows), 64) == 0).mean() <= 0.01


def test_it_is_level_with_vector_quantize_pytorch_at_equal_rate():
    """On real frames, `emolib bench codebook` shows it ahead."""
    import torch
    from vector_quantize_pytorch import ResidualVQ

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


def test_probabilities_are_whole_numbers_that_add_up(plain):
    symbols = plain.encode(clouds(300, seed=1), 0.02).astype(int)
    model = fit_model(np.where(symbols < 0, 16, symbols), 16, np.eye(1, 300, dtype=bool)[0])
    for table in (model.stages, model.rows):
        assert table.dtype == np.uint16 and table.min() >= 1
        assert (table.sum(axis=-1, dtype=int) == TOTAL).all()
    before, above = np.arange(17), np.arange(17)[::-1]
    assert (model.probabilities(1, before, above).sum(axis=1, dtype=np.float64) == 1).all()


def test_a_context_that_says_nothing_costs_next_to_nothing():
    rng, n_codes = np.random.default_rng(0), 32
    seen, other = (rng.integers(n_codes, size=(n, 3)) for n in (200, 2000))
    counts = np.stack([np.bincount(seen[:, q], minlength=n_codes + 1) + 0.5 for q in range(3)])
    chances = counts / counts.sum(axis=1, keepdims=True)
    without = -np.log2(np.stack([chances[q][other[:, q]] for q in range(3)])).sum(axis=0)
    assert fit_model(seen, n_codes).code_lengths(other).mean() < 1.02 * without.mean()


def test_a_stream_decodes_to_its_codes_and_is_as_long_as_estimated(fitted):
    quantizer, X = fitted
    for lam in LAMS:
        for rows in (X, X[:1], X[:0]):
            codes = quantizer.encode(rows, lam) if len(rows) else quantizer.blank(0)
            data, estimate = pack(quantizer, codes), quantizer.bits(codes).sum() / 8
            assert np.array_equal(unpack(quantizer, data), codes)
            assert -1 <= len(data) - estimate <= max(16, 0.02 * estimate)


def test_every_altered_byte_and_every_cut_is_refused(fitted):
    quantizer, X = fitted
    data = quantizer.compress(X[:20], 0.005)
    flipped = [data[:at] + bytes([data[at] ^ 128]) + data[at + 1 :] for at in range(len(data))]
    for harmed in (*flipped, *(data[:at] for at in range(len(data))), data + b"\0"):
        refused(r"stream|codebook|format", quantizer.decompress, harmed)
    again, other = (ResidualQuantizer(**QUICK, seed=seed).fit(clouds()) for seed in (0, 1))
    assert again.fingerprint == ResidualQuantizer(**QUICK).fit(clouds()).fingerprint != other.fingerprint
    refused("decode with the codebook that encoded", other.decompress, data)


def test_any_rate_can_be_asked_for():
    X = clouds(144, 10)
    quantizer = ResidualQuantizer(n_stages=4, n_codes=8).fit(X)
    for bits in (1.5, 3.0, 7.0):  # below 3, no lambda gives a rate: a code costs that much or is not sent
        codes = codes_at_bits(lambda lam: quantizer.encode(X, lam), quantizer, bits)
        assert 0.95 * bits - 0.1 < 8 * len(pack(quantizer, codes)) / len(X) <= bits


def test_a_router_takes_the_cheapest_book_and_its_stream_is_exact():
    X, test = clouds(), clouds(200, seed=1)
    halves = {"low": X[X[:, -1] < 50], "high": X[X[:, -1] >= 50]}
    routed = RoutedQuantizer({name: ResidualQuantizer(**QUICK).fit(rows) for name, rows in halves.items()})
    for lam in LAMS:
        codes = routed.encode(test, lam)
        data, estimate = pack(routed, codes), routed.bits(codes).sum() / 8
        assert np.array_equal(unpack(routed, data), codes) and len(data) - estimate <= 16
    high = test[:, -1] >= 50
    assert (routed.encode(test)[:, 0] == high).mean() > 0.9
    asked = routed.encode(test, 0.01, names=np.where(high, "high", "low"))
    assert np.array_equal(asked[:, 0], high)
    assert np.square(routed.decode(asked) - test).sum() < 0.5 * np.square(test - test.mean(0)).sum()
    refused("each one of low, high", routed.encode, test, names=["other"] * 200)


# ------------------------------------------------------------------------------------- saved


def test_a_saved_codebook_decodes_the_same_in_another_process(tmp_path):
    quantizer, X = ResidualQuantizer(**QUICK, groups=2, context="frame").fit(walk()), walk(120, seed=1)
    quantizer.save(tmp_path / "book")
    (tmp_path / "x.emoq").write_bytes(quantizer.compress(X, 0.01))
    code = (
        "import sys, numpy as np; from pathlib import Path; from emolib.codebook import ResidualQuantizer\n"
        "p = Path(sys.argv[1]); book = ResidualQuantizer.load(p / 'book')\n"
        "np.save(p / 'y.npy', book.decompress((p / 'x.emoq').read_bytes()))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    expected = quantizer.decode(quantizer.encode(X, 0.01))
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected)
    loaded = ResidualQuantizer.load(tmp_path / "book")
    assert loaded.get_params() == {**quantizer.get_params(), "rates": list(quantizer.rates)}
    assert np.array_equal(loaded.encode(X, 0.02), quantizer.encode(X, 0.02))


def test_what_was_altered_in_a_saved_codebook_is_found(plain, tmp_path):
    folder = plain.save(tmp_path / "book")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"scale_": config["scale_"] * 1.01}))
    refused("altered", ResidualQuantizer.load, folder)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    refused("damaged", ResidualQuantizer.load, folder)
    with pytest.raises(FileNotFoundError, match="no codebook"):
        ResidualQuantizer.load(tmp_path / "none")


# ------------------------------------------------------------------------------------- odd input


def test_what_is_wrong_is_refused(plain):
    X = clouds(100)
    hollow = X.copy()
    hollow[3, 2] = np.nan
    options = [
        {"n_stages": 0}, {"n_codes": 0}, {"n_codes": 5000}, {"groups": 13}, {"context": "both"},
        {"rates": (0.1,)}, {"beam": 0}, {"n_codes": 2.5},
    ]  # fmt: skip
    tables = {"shape": [[0, 1]], "from": [[0, 1, 2, 16]], "follows": [[0, -1, 2, 3]]}
    frames = ResidualQuantizer(**QUICK, context="frame")
    wrong = [(lambda o=o: ResidualQuantizer(**QUICK | o).fit(X), "=.*expected") for o in options]
    wrong += [(lambda lam=lam: plain.encode(X, lam), "lam=.*expected 0") for lam in (-0.1, np.nan, np.inf)]
    wrong += [(lambda table=table: plain.decode(table), word) for word, table in tables.items()]
    wrong += [
        (lambda: ResidualQuantizer(**QUICK).fit(hollow), "NaN"),
        (lambda: ResidualQuantizer(**QUICK).fit(X[:1]), "minimum of 2"),
        (lambda: plain.decode([[0.0, 1, 2, 3]]), "integers"),
        (lambda: plain.encode(X[:, :5]), "features"),
        (lambda: plain.encode(X, n_stages=5), "expected 1 to 4"),
        (lambda: frames.fit(X, lengths=[50, 40]), "lengths add up to 90"),
    ]
    for call, message in wrong:
        refused(message, call)


def test_fewer_rows_than_codes_train_fewer_codes_and_say_so():
    with pytest.warns(UserWarning, match="20 rows are too few for 256 codes"):
        quantizer = ResidualQuantizer().fit(clouds(20))
    codes = quantizer.encode(clouds(3))
    assert quantizer.n_codes_ == 10 and np.array_equal(unpack(quantizer, pack(quantizer, codes)), codes)


def test_constant_columns_and_constant_rows_are_kept():
    X = clouds()
    X[:, 3] = -7.25
    same = np.full((40, 5), 3.5)
    assert np.allclose(ResidualQuantizer(**QUICK).fit(X).transform(X)[:, 3], -7.25)
    assert np.allclose(ResidualQuantizer(**QUICK).fit(same).transform(same), 3.5)


# ------------------------------------------------------------------------------------- measures


@pytest.fixture(scope="module")
def clips() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    X, manifest = corners()
    X, labels = X - X.mean(axis=0), manifest["emotion"].to_numpy()
    return X, labels, measures.class_centroids(X, labels)


def drifts(moved: measures.Drift, labels: np.ndarray, kind: str = "toward") -> pd.DataFrame:
    """Return a table as `measures.excess_drift` takes it."""
    table = pd.DataFrame(getattr(moved, kind), columns=[f"to {name}" for name in moved.classes])
    return table.assign(emotion=labels, speaker=np.arange(len(labels)) % 6)


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
        assert np.allclose(moved.shrinking, share)
        assert np.allclose(moved.beyond[~np.isnan(moved.beyond)], 0)
        assert measures.excess_drift(drifts(moved, labels)).value >= 0  # neutral is in the middle


def test_moving_to_a_class_is_drift_there(clips):
    X, labels, centroids = clips
    way = centroids.loc["sad"].to_numpy() - centroids.loc[labels].to_numpy()
    moved = measures.drift(X, X + 0.4 * way, labels, centroids)
    sad = moved.classes.index("sad")
    assert np.allclose(moved.toward[labels != "sad", sad], 0.4)
    assert np.isnan(moved.toward[labels == "sad", sad]).all()
    # on the way to sad they all pass the middle, where neutral is: only drift beyond shrinking shows it
    assert measures.excess_drift(drifts(moved, labels), "to", "sad").value < 0
    assert measures.excess_drift(drifts(moved, labels, "beyond"), "to", "sad").value > 0.05
    refused("no centroid of angry", measures.drift, X, X, labels, centroids.drop("angry"))
    refused("no class 'bored'", measures.excess_drift, drifts(moved, labels), "to", "bored")


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
