"""The one training loop: what a kill, another training, a bad loss or patience do to it."""

import os
import signal

import numpy as np
import pytest
import torch
from samples import refused
from torch import nn

from emolib import training
from emolib.training import Recipe, Training

X = torch.linspace(-1, 1, 64)[:, None]


def made(identity="a", network=None, device="cpu", **settings) -> Training:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = network or nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    recipe = Recipe(**({"steps": 12, "learning_rate": 0.05, "warmup": 3} | settings))
    return Training(network, recipe, identity, device=device)


def run(fit: Training, folder=None, stop_at=None, **more) -> Training:
    x = X.to(fit.accelerator.device)

    def loss(rows):
        if fit.step == stop_at:
            raise KeyboardInterrupt
        return (fit.whole(x[rows]) - x[rows] ** 2).square().mean()

    def batches(step):
        rows = np.random.default_rng(step).permutation(64)
        return [rows[:16], rows[16:32]]

    def validate():
        return {"loss": float((fit.network(x) - x**2).square().mean())}

    often = {"validate": validate, "validate_every": 4, "checkpoint_every": 3}
    fit.run(batches, loss, folder=folder, **often | more)
    return fit


def weights(fit: Training) -> dict[str, torch.Tensor]:
    return fit.network.state_dict()


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_stopped_training_ends_as_an_undisturbed_one(tmp_path, average):
    """Stopped by an error in a step, or by SIGTERM after step 5, which is seen after the next."""
    terminate = {"events": [(5, lambda: os.kill(os.getpid(), signal.SIGTERM))]}
    whole = run(made(average=average))
    for stop, options, done in ((KeyboardInterrupt, {"stop_at": 8}, 8), (SystemExit, terminate, 6)):
        fit, folder = made(average=average), tmp_path / stop.__name__
        with pytest.raises(stop):
            run(fit, folder, **options)
        resumed = run(made(average=average), folder)
        assert fit.step == done and resumed.losses == whole.losses and resumed.curve == whole.curve
        for name, value in weights(whole).items():
            assert torch.equal(weights(resumed)[name], value)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_checkpoint_of_another_training_is_refused_or_replaced_as_asked(tmp_path):
    run(made("a"), tmp_path)
    refused("other clips", run, made("b"), tmp_path)
    with pytest.raises(ValueError, match="other clips"), training.in_folder(tmp_path, "b"):
        pass
    with training.in_folder(tmp_path, "a") as state:
        assert training.ended(state, made().recipe)
    with training.in_folder(tmp_path, "b", replace=True) as state:
        assert state is None and not (tmp_path / training.CHECKPOINT).exists()


def test_a_loss_that_is_not_finite_stops_it_and_keeps_the_checkpoint(tmp_path):
    fit = made()

    def loss(step):
        return sum(p.square().sum() for p in fit.network.parameters()) * (np.nan if step == 7 else 1)

    with pytest.raises(ValueError, match=r"step 8.*nan.*is kept.*learning rate below"):
        fit.run(lambda step: [step], loss, folder=tmp_path, checkpoint_every=3)
    resumed = made()
    resumed.restore(tmp_path / training.CHECKPOINT)
    assert resumed.step == 6 and all(torch.isfinite(v).all() for v in weights(resumed).values())


def test_it_ends_without_gain_and_keeps_the_best_weights():
    fit, scores = made(steps=100, patience=3, highest=True, metric="score"), iter([0.1, 0.5, 0.3, 0.2, 0.4])
    seen = []

    def validate():
        seen.append({name: value.clone() for name, value in weights(fit).items()})
        return {"score": next(scores)}

    run(fit, validate=validate, validate_every=2)
    assert fit.step == 10 and training.best(fit.curve, fit.recipe) == 1
    assert all(torch.equal(weights(fit)[name], value) for name, value in seen[1].items())


def test_the_average_is_the_running_mean_of_the_weights():
    fit = made(average=0.5)
    weight = fit.network[0].weight
    mean = weight.detach().clone()
    while fit.step < 12:
        fit.advance([X], lambda x: (fit.whole(x) - 1).square().mean())
        share = min(0.5, fit.step / (9 + fit.step))
        mean = share * mean + (1 - share) * weight.detach()
    now = weight.detach().clone()
    with fit.with_kept() as network:
        assert not network.training
        torch.testing.assert_close(weight.detach(), mean)
    assert fit.network.training and torch.equal(weight, now) and not torch.allclose(now, mean)


def test_the_mean_gradient_of_several_batches_is_that_of_all_rows():
    one, several = (made(network=nn.Linear(1, 1)) for _ in range(2))
    several.network.load_state_dict(one.network.state_dict())
    one.advance([X], lambda x: (one.whole(x) - 1).square().mean())
    several.advance([X[:32], X[32:]], lambda x: (several.whole(x) - 1).square().mean())
    torch.testing.assert_close(one.network.weight, several.network.weight)


def test_the_rate_rises_stays_and_falls_to_zero():
    rates = [Recipe(100, 1.0, warmup=10, decay_share=0.5).rate(step) for step in range(101)]
    assert rates[0] == 0.1 and set(rates[10:50]) == {1.0}
    assert rates[75] == pytest.approx(0.5) and rates[100] == 0
    assert Recipe(100, 1.0, warmup=1, decay_share=0).rate(99) == 1.0


def test_identity_sees_every_part():
    one, x = {"a": 1}, np.arange(6.0)
    parts = [(one, x, Recipe(3, 0.1)), ({"a": 2}, x, Recipe(3, 0.1)), (one, x, Recipe(4, 0.1))]
    parts += [(one, other, Recipe(3, 0.1)) for other in (x + 1, x.reshape(2, 3))]
    assert len({training.identity(*some) for some in parts}) == len(parts)
    assert training.identity({"a": 1}, x.copy(), Recipe(3, 0.1)) == training.identity(*parts[0])


def test_an_unknown_device_is_refused():
    for name in ("tpux", "cuda:0" if not torch.cuda.is_available() else "nope"):
        refused(r"device.*(expected|use)", training.torch_device, name)
