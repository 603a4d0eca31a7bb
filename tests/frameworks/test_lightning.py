"""PyTorch Lightning with its own trainer."""

import logging
import warnings

import lightning
import pytest
import torch
from conftest import COUNT, transcript
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset

from alithis.integrations.lightning import RunCallback
from alithis.training.run import Run

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Bright(lightning.LightningModule):
    def __init__(self, rate=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(16, 2)

    def training_step(self, batch, _):
        images, labels = batch
        loss = torch.nn.functional.cross_entropy(self.layer(images.flatten(1) / 255), labels)
        self.log("loss", loss)
        return loss

    def test_step(self, batch, batch_idx):
        found = self.layer(batch[0].flatten(1) / 255).argmax(1)
        self.log("accuracy", (found == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.rate)


def trainer(folder, callback, *others, **options):
    warnings.filterwarnings("ignore", module="lightning")
    return lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=bool(others),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[callback, *others],
        **options,
    )


def test_fit_and_test(images, labels, pixels, tmp_path):
    data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    with Run("bright", out=tmp_path / "out") as run:
        train = run.use(DataLoader(data, batch_size=16, shuffle=True), pixels)
        test = run.use(DataLoader(data, batch_size=16), pixels, "tested_on")
        callback = RunCallback(run, tmp_path / "bright.safetensors")
        module = Bright()
        fit = trainer(tmp_path, callback, max_epochs=3)
        fit.fit(module, train)
        fit.test(module, test, verbose=False)

    assert transcript(run) == (COUNT, 0, 0, 3 * COUNT)
    assert transcript(run, 1) == (COUNT, 0, 0, COUNT)
    assert torch.equal(load_file(tmp_path / "bright.safetensors")["layer.bias"], module.layer.bias)
    facts = run.facts().as_object()
    assert facts["complete"]
    assert facts["metrics"].keys() >= {"loss", "accuracy"}
    assert (facts["parameters"]["rate"], facts["parameters"]["max_epochs"]) == (0.1, 3)
    assert facts["parameters"]["optimizers"] == ["Adam"]
    assert (tmp_path / "out" / "metadata.json").is_file()


def test_batches_left_out_are_not_recorded(images, labels, pixels, tmp_path):
    data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    run = Run("bright")
    train = run.use(DataLoader(data, batch_size=16, num_workers=2), pixels)
    fit = trainer(
        tmp_path,
        RunCallback(run, tmp_path / "w.safetensors"),
        max_epochs=1,
        limit_train_batches=2,
    )
    fit.fit(Bright(), train)
    seen, _, foreign, given = transcript(run)
    # Lightning asks for one batch more, to know whether it is the last.
    assert (foreign, given) in ((0, 32), (0, 48))
    assert seen == given


class Diverging(Bright):
    """Its settings contain values that are no JSON: `save_hyperparameters` saves everything."""

    def __init__(self, loss, rate=float("inf"), activation=torch.relu):
        super().__init__(rate)
        self.save_hyperparameters()


def test_training_that_diverges(images, labels, pixels, tmp_path):
    data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    run = Run("bright")
    callback = RunCallback(run, tmp_path / "bright.safetensors")
    fit = trainer(tmp_path, callback, max_epochs=2)
    fit.fit(Diverging(torch.nn.MSELoss()), run.use(DataLoader(data, batch_size=16), pixels))

    manifest = run.write(tmp_path / "out")
    facts = manifest.metadata.document["alithis"]
    assert facts["metrics"]["loss"] == "nan"
    assert facts["parameters"]["rate"] == "inf"
    assert facts["parameters"]["loss"] == "MSELoss()"
    assert facts["parameters"]["learning_rates"] == ["inf"]


@pytest.fixture
def loader(images, labels):
    data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    return DataLoader(data, batch_size=16)


def is_stored(path, module):
    stored = load_file(path)
    return all(torch.equal(stored[name], at) for name, at in module.state_dict().items())


@pytest.mark.parametrize(
    "averaging",
    [
        lambda: StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=1),
        lambda: EMAWeightAveraging(decay=0.5),
    ],
)
def test_weights_averaged_by_a_later_callback(loader, tmp_path, averaging):
    path, module = tmp_path / "w.safetensors", Bright()
    trainer(tmp_path, RunCallback(Run("r"), path), averaging(), max_epochs=4).fit(module, loader)
    assert is_stored(path, module)


def test_tested_checkpoint_is_recorded(loader, tmp_path):
    path, module, run = tmp_path / "w.safetensors", Bright(), Run("r")
    worst = ModelCheckpoint(tmp_path, monitor="loss", mode="max", save_on_train_epoch_end=True)
    fit = trainer(tmp_path, RunCallback(run, path), worst, max_epochs=3)
    fit.fit(module, loader)
    assert is_stored(path, module)
    last = load_file(path)
    fit.test(module, loader, ckpt_path="best", verbose=False)
    assert is_stored(path, module)
    best = torch.load(worst.best_model_path, weights_only=False)["state_dict"]
    assert torch.equal(load_file(path)["layer.weight"], best["layer.weight"])
    assert not torch.equal(last["layer.weight"], best["layer.weight"])


class Named(Bright):
    """Its hyperparameters have names that are recorded anyway."""

    def __init__(self, model="wide", max_epochs=7, optimizers="two", learning_rates=3, rate=0.1):
        super().__init__(rate)
        self.save_hyperparameters()


def test_hyperparameters_with_names_that_are_recorded_anyway(loader, tmp_path):
    run = Run("r")
    trainer(tmp_path, RunCallback(run, tmp_path / "w"), max_epochs=1).fit(Named(), loader)
    parameters = run.facts().as_object()["parameters"]
    assert (parameters["model"], parameters["hparams.model"]) == ("Named", "wide")
    assert (parameters["max_epochs"], parameters["hparams.max_epochs"]) == (1, 7)
    assert (parameters["optimizers"], parameters["hparams.optimizers"]) == (["Adam"], "two")
    assert (parameters["learning_rates"], parameters["hparams.learning_rates"]) == ([0.1], 3)
    assert parameters["rate"] == 0.1


def test_compiled_network(loader, tmp_path):
    module = Bright()
    names = module.state_dict().keys()
    module.layer = torch.compile(module.layer, backend="eager")
    trainer(tmp_path, RunCallback(Run("r"), tmp_path / "w"), max_epochs=1).fit(module, loader)
    assert load_file(tmp_path / "w").keys() == names
