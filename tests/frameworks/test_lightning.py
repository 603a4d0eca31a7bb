"""PyTorch Lightning with its own trainer."""

import logging
import warnings

import lightning
import torch
from conftest import COUNT, transcript
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset

from alithis.adapters.lightning import RunCallback
from alithis.run import Run

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


def trainer(folder, callback, **options):
    warnings.filterwarnings("ignore", module="lightning")
    return lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[callback],
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
    """Its settings hold what is no JSON, as `save_hyperparameters` takes all there is."""

    def __init__(self, loss, rate=float("inf"), activation=torch.relu):
        super().__init__(rate)
        self.save_hyperparameters()


def test_a_training_that_diverges(images, labels, pixels, tmp_path):
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
