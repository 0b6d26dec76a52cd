"""The quantizer: codes are what they say, streams exact and as long as promised, what is wrong is refused."""

import json
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

from emolib.codebook import ResidualQuantizer, RoutedQuantizer, pack, training, unpack
from emolib.codebook.entropy import TOTAL, fit_model

QUICK = {"n_stages": 4, "n_codes": 16, "n_epochs": 3}
LAMS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 2.0)


def clouds(n_rows: int = 600, width: int = 12, seed: int = 0) -> np.ndarray:
    """Rows around a few centres, with a large common offset and columns of differing spread."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((6, width)) * np.linspace(0.5, 3, width)
    return 50 + centres[rng.integers(6, size=n_rows)] + 0.4 * rng.standard_normal((n_rows, width))


def walk(n_rows: int = 400, width: int = 6, seed: int = 0) -> np.ndarray:
    """A slow sequence, in which a row tells much of the next."""
    steps = np.random.default_rng(seed).standard_normal((n_rows, width))
    return np.cumsum(0.3 * steps, axis=0) - 0.15 * np.cumsum(np.cumsum(steps, axis=0) * 1e-3, axis=0)


@pytest.fixture(scope="module", params=["plain", "groups", "frame", "beam"])
def fitted(request) -> tuple[ResidualQuantizer, np.ndarray]:
    options = {"plain": {}, "groups": {"groups": 3}, "frame": {"context": "frame"}, "beam": {"beam": 4}}
    train, test = (walk, walk) if request.param == "frame" else (clouds, clouds)
    return ResidualQuantizer(**QUICK, **options[request.param]).fit(train()), test(120, seed=1)[:, :]


def test_the_checks_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some checks give too few rows for four codes, which warns
        check_estimator(ResidualQuantizer(n_stages=2, n_codes=4, n_epochs=1))


# ------------------------------------------------------------------------------------- codes


def test_more_stages_lose_less_and_nothing_is_lost_in_decoding(fitted):
    quantizer, X = fitted
    spread = np.square(X - quantizer.mean_).sum()
    lost = []
    for n_stages in range(1, 5):
        codes = quantizer.encode(X, n_stages=n_stages)
        assert codes.shape == (len(X), quantizer.groups * 4) and codes.dtype == np.int16
        assert ((codes.reshape(len(X), -1, 4) >= 0).sum(axis=2) == n_stages).all()
        lost.append(np.square(X - quantizer.decode(codes)).sum() / spread)
    assert all(after < before for before, after in pairwise(lost)) and lost[-1] < 0.2


def test_each_code_is_the_nearest_to_what_is_left():
    X = clouds(50, seed=3)
    quantizer = ResidualQuantizer(**QUICK).fit(clouds())
    left = (X - quantizer.mean_) / quantizer.scale_
    for q, column in enumerate(quantizer.encode(X).T):
        stage = quantizer.codes_[0][q]
        far = np.square(left[:, None] - stage).sum(axis=2)
        assert np.allclose(far[np.arange(50), column], far.min(axis=1), atol=1e-5)
        left = left - stage[column]


def test_a_higher_lambda_costs_fewer_bits_and_more_distortion(fitted):
    quantizer, X = fitted
    tables = [quantizer.encode(X, lam) for lam in LAMS]
    bits = [quantizer.bits(table).sum() for table in tables]
    lost = [np.square(X - quantizer.decode(table)).sum() for table in tables]
    assert all(b <= a * 1.02 for a, b in pairwise(bits)) and bits[-1] < 0.1 * bits[0]
    assert all(b >= a * 0.999 for a, b in pairwise(lost))


def test_lambda_is_as_good_a_bargain_as_any_fixed_number_of_stages():
    """A greedy search and a fixed number of stages, which needs no stops, may win by a few per cent."""
    quantizer, X = ResidualQuantizer(**QUICK).fit(clouds(2000)), clouds(500, seed=1)

    def cost(codes: np.ndarray, lam: float) -> float:
        lost = np.square((X - quantizer.decode(codes)) / quantizer.scale_).sum()
        return float(lost + lam * quantizer.bits(codes).sum())

    for lam in (0.002, 0.005, 0.01, 0.03, 0.1, 0.5):
        fixed = [cost(quantizer.encode(X, n_stages=n), lam) for n in range(1, 5)]
        assert cost(quantizer.encode(X, lam), lam) <= min(*fixed, cost(quantizer.blank(len(X)), lam)) * 1.05


def test_a_wider_beam_is_no_worse():
    train, X, cost = clouds(2000), clouds(400, seed=1), {}
    for beam in (1, 8):
        quantizer = ResidualQuantizer(n_stages=5, n_codes=8, n_epochs=2, beam=beam).fit(train)
        for lam in (0.0, 0.005):
            codes = quantizer.encode(X, lam)
            lost = np.square((X - quantizer.decode(codes)) / quantizer.scale_).sum()
            cost[beam, lam] = lost + lam * quantizer.bits(codes).sum()
    assert cost[8, 0.0] < cost[1, 0.0] and cost[8, 0.005] < 1.01 * cost[1, 0.005]


def test_the_row_before_saves_bits_in_a_sequence():
    train, test = walk(3000), walk(200, seed=5) - walk(200, seed=5).mean(0) + walk(3000).mean(0)
    sizes = {}
    for context in ("stage", "frame"):
        quantizer = ResidualQuantizer(n_stages=2, n_codes=16, context=context).fit(train)
        sizes[context] = len(quantizer.compress(test))
    assert sizes["frame"] < 0.9 * sizes["stage"]


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
    theirs = ResidualVQ(
        dim=12,
        num_quantizers=4,
        codebook_size=32,
        kmeans_init=True,
        kmeans_iters=10,
        threshold_ema_dead_code=2,
    ).train()
    for _ in range(12):
        for batch in torch.randperm(len(train)).split(1024):
            theirs(torch.from_numpy(train[batch] - mean))
    with torch.no_grad():
        found = theirs.eval()(torch.from_numpy(test - mean))[0].numpy()
    ours = ResidualQuantizer(n_stages=4, n_codes=32).fit(train)
    assert np.square(ours.transform(test) - test).sum() <= 1.03 * np.square(found - (test - mean)).sum()


# ------------------------------------------------------------------------------------- entropy


def test_contexts_that_say_nothing_cost_few_clips_next_to_nothing():
    """A table of 33 x 33 contexts from 200 rows: held-out codes are as short as without any context."""
    rng, n_codes = np.random.default_rng(0), 32
    seen, other = (rng.integers(n_codes, size=(n, 3)) for n in (200, 2000))
    model = fit_model(seen, n_codes)
    counts = np.stack([np.bincount(seen[:, q], minlength=n_codes + 1) + 0.5 for q in range(3)])
    chances = counts / counts.sum(axis=1, keepdims=True)
    without = -np.log2(np.stack([chances[q][other[:, q]] for q in range(3)])).sum(axis=0)
    assert model.code_lengths(other).mean() < 1.02 * without.mean()


def test_probabilities_are_whole_numbers_that_add_up():
    symbols = ResidualQuantizer(**QUICK).fit(clouds()).encode(clouds(300, seed=1), 0.02).astype(int)
    model = fit_model(np.where(symbols < 0, 16, symbols), 16, np.eye(1, 300, dtype=bool)[0])
    assert model.stages.dtype == np.uint16 and model.stages.min() >= 1
    assert (model.stages.sum(axis=-1, dtype=int) == TOTAL).all() and (
        model.rows.sum(axis=-1, dtype=int) == TOTAL
    ).all()
    before, above = np.arange(17), np.arange(17)[::-1]
    assert (model.probabilities(1, before, above).sum(axis=1, dtype=np.float64) == 1).all()


def test_a_code_that_tells_the_next_makes_it_cheap():
    first = np.random.default_rng(0).integers(16, size=2000)
    told = fit_model(np.stack([first, (first + 3) % 16], axis=1), 16)
    untold = fit_model(np.stack([first, np.roll(first, 1)], axis=1), 16)
    assert told.bits(1, first)[np.arange(2000), (first + 3) % 16].mean() < 0.2
    assert untold.bits(1, first)[np.arange(2000), np.roll(first, 1)].mean() > 3.8


# ------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("lam", LAMS)
def test_a_stream_decodes_to_its_codes_and_is_as_long_as_estimated(fitted, lam):
    quantizer, X = fitted
    for rows in (X, X[:1], X[:7], X[:0].reshape(0, X.shape[1])):
        codes = quantizer.encode(rows, lam) if len(rows) else quantizer.blank(0)
        data = pack(quantizer, codes)
        assert np.array_equal(unpack(quantizer, data), codes)
        estimate = quantizer.bits(codes).sum() / 8
        assert -1 <= len(data) - estimate <= max(16, 0.02 * estimate)


def test_a_long_stream_is_within_its_bound_too():
    quantizer, X = ResidualQuantizer(**QUICK).fit(clouds()), clouds(20_000, seed=1)
    codes = quantizer.encode(X, 0.001)
    data, estimate = pack(quantizer, codes), quantizer.bits(codes).sum() / 8
    assert np.array_equal(unpack(quantizer, data), codes) and len(data) - estimate <= 0.02 * estimate


def test_a_saved_codebook_decodes_the_same_in_another_process(fitted, tmp_path):
    quantizer, X = fitted
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


def test_every_altered_byte_and_every_cut_is_refused(fitted):
    quantizer, X = fitted
    data = quantizer.compress(X[:20], 0.005)
    for at in range(len(data)):
        for flip in (1, 128):
            harmed = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            with pytest.raises(ValueError, match=r"stream|codebook|format"):
                quantizer.decompress(harmed)
        with pytest.raises(ValueError, match="stream"):
            quantizer.decompress(data[:at])
    with pytest.raises(ValueError, match="damaged"):
        quantizer.decompress(data + b"\0")


def test_a_stream_of_another_codebook_is_refused():
    books = [ResidualQuantizer(**QUICK, seed=seed).fit(clouds()) for seed in (0, 1)]
    with pytest.raises(ValueError, match="decode with the codebook that encoded"):
        books[1].decompress(books[0].compress(clouds(5)))


def test_what_was_altered_in_a_saved_codebook_is_found(tmp_path):
    folder = ResidualQuantizer(**QUICK).fit(clouds()).save(tmp_path / "book")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"scale_": config["scale_"] * 1.01}))
    with pytest.raises(ValueError, match="altered"):
        ResidualQuantizer.load(folder)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(ValueError, match="damaged"):
        ResidualQuantizer.load(folder)
    with pytest.raises(FileNotFoundError, match="no codebook"):
        ResidualQuantizer.load(tmp_path / "none")


# ------------------------------------------------------------------------------------- a router


def test_a_router_takes_the_cheapest_book_and_its_stream_is_exact():
    X = clouds()
    halves = {"low": X[X[:, -1] < 50], "high": X[X[:, -1] >= 50]}
    routed = RoutedQuantizer({name: ResidualQuantizer(**QUICK).fit(rows) for name, rows in halves.items()})
    test = clouds(200, seed=1)
    for lam in LAMS:
        codes = routed.encode(test, lam)
        data, estimate = pack(routed, codes), routed.bits(codes).sum() / 8
        assert np.array_equal(unpack(routed, data), codes) and len(data) - estimate <= 16
    names = np.where(test[:, -1] < 50, "low", "high")
    assert (np.array(["low", "high"])[routed.encode(test)[:, 0]] == names).mean() > 0.9
    asked = routed.encode(test, 0.01, names=names)
    assert np.array_equal(np.array(["low", "high"])[asked[:, 0]], names)
    assert np.square(routed.decode(asked) - test).sum() < 0.5 * np.square(test - test.mean(0)).sum()
    with pytest.raises(ValueError, match="each one of low, high"):
        routed.encode(test, names=["other"] * 200)


# ------------------------------------------------------------------------------------- what is odd


@pytest.mark.parametrize("lam", [-0.1, np.nan, np.inf])
def test_a_lambda_out_of_range_is_refused(lam):
    with pytest.raises(ValueError, match=r"lam=.*expected 0"):
        ResidualQuantizer(**QUICK).fit(clouds(100)).encode(clouds(5), lam)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"n_stages": 0}, "n_stages"), ({"n_codes": 0}, "n_codes"), ({"n_codes": 5000}, "n_codes"),
        ({"groups": 13}, "groups"), ({"context": "both"}, "context"), ({"rates": (0.1,)}, "rates"),
        ({"beam": 0}, "beam"), ({"n_codes": 2.5}, "n_codes"),
    ],
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused(options, word):
    with pytest.raises(ValueError, match=f"{word}=.*expected"):
        ResidualQuantizer(**QUICK | options).fit(clouds(100))


def test_fewer_rows_than_codes_train_fewer_codes_and_say_so():
    with pytest.warns(UserWarning, match="20 rows are too few for 256 codes"):
        quantizer = ResidualQuantizer().fit(clouds(20))
    assert quantizer.n_codes_ == 10
    assert np.array_equal(
        unpack(quantizer, pack(quantizer, quantizer.encode(clouds(3)))), quantizer.encode(clouds(3))
    )


def test_a_single_clip_is_refused_in_training_and_served_in_coding():
    with pytest.raises(ValueError, match="minimum of 2"):
        ResidualQuantizer(**QUICK).fit(clouds(1))
    assert ResidualQuantizer(**QUICK).fit(clouds(100)).encode(clouds(1), 0.01).shape == (1, 4)


def test_constant_columns_and_constant_rows_are_kept():
    X = clouds()
    X[:, 3] = -7.25
    assert np.allclose(ResidualQuantizer(**QUICK).fit(X).transform(X)[:, 3], -7.25)
    same = np.full((40, 5), 3.5)
    quantizer = ResidualQuantizer(**QUICK).fit(same)
    assert np.allclose(quantizer.transform(same), 3.5)


def test_rows_with_nan_or_of_another_width_are_refused():
    X = clouds()
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ResidualQuantizer(**QUICK).fit(X)
    with pytest.raises(ValueError, match="features"):
        ResidualQuantizer(**QUICK).fit(clouds()).encode(clouds()[:, :5])


@pytest.mark.parametrize(
    "codes, word",
    [
        ([[0, 1]], "shape"),
        ([[0, 1, 2, 16]], "from"),
        ([[0, -1, 2, 3]], "follows"),
        ([[0.0, 1, 2, 3]], "integers"),
    ],
)
def test_codes_that_are_none_are_refused(codes, word):
    with pytest.raises(ValueError, match=word):
        ResidualQuantizer(**QUICK).fit(clouds()).decode(codes)


def test_a_seed_fixes_the_outcome():
    first, again, other = (ResidualQuantizer(**QUICK, seed=seed).fit(clouds()) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_sequences_must_add_up():
    with pytest.raises(ValueError, match="lengths add up to 90"):
        ResidualQuantizer(**QUICK, context="frame").fit(clouds(100), lengths=[50, 40])
