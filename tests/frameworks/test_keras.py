"""Keras 3 on its PyTorch backend."""

import keras
import numpy as np
import pytest
import torch
from conftest import COUNT, transcript
from safetensors.numpy import load_file
from torch.utils.data import DataLoader, TensorDataset

from alithis.errors import SourceError
from alithis.integrations.keras import RunCallback, save_weights
from alithis.training.run import Run


def network():
    model = keras.Sequential(
        [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


class Batches(keras.utils.PyDataset):
    def __init__(self, images, labels, **options):
        super().__init__(**options)
        self.images, self.labels = images, labels

    def __len__(self):
        return COUNT // 16

    def __getitem__(self, at):
        part = slice(16 * at, 16 * at + 16)
        return self.images[part], self.labels[part]


def test_array(images, labels, pixels, tmp_path):
    model = network()
    with Run("bright", out=tmp_path / "out") as run:
        fed = run.use(images, pixels)
        callback = RunCallback(run, tmp_path / "bright.safetensors")
        model.fit(fed, labels, epochs=2, batch_size=16, verbose=0, callbacks=[callback])

    # Keras looks at a first batch, to build the model, before it trains on it.
    assert transcript(run) == (COUNT, 0, 0, 2 * COUNT + 16)
    facts = run.facts().as_object()
    assert facts["parameters"]["epochs"] == 2
    assert facts["parameters"]["optimizer"]["name"] == "adam"
    assert facts["parameters"]["backend"] == "torch"
    assert facts["metrics"].keys() == {"loss", "accuracy"}
    stored = sorted(load_file(tmp_path / "bright.safetensors").values(), key=np.size)
    expected = sorted(model.get_weights(), key=np.size)
    assert all(np.array_equal(*pair) for pair in zip(stored, expected, strict=True))
    assert (tmp_path / "out" / "metadata.json").is_file()


def test_nan_metrics(images, labels, pixels, tmp_path):
    model = network()
    score = keras.metrics.F1Score(average=None)
    model.compile(keras.optimizers.SGD(1e38), "mse", metrics=[score])
    run = Run("bright")
    callback = RunCallback(run, tmp_path / "bright.safetensors")
    wanted = np.eye(2, dtype="f4")[labels]
    model.fit(run.use(images, pixels), wanted, epochs=2, verbose=0, callbacks=[callback])

    facts = run.write(tmp_path / "out").metadata.document["alithis"]
    assert facts["metrics"]["loss"] == "nan"
    assert len(facts["metrics"]["f1_score"]) == 2  # one for each class
    assert facts["parameters"]["loss"] == "mse"


def test_validation_data_is_not_trained_on(images, labels, pixels):
    run = Run("bright")
    train, rest = run.use(images, pixels), run.use(images, pixels, "validated_on")
    network().fit(
        train[:64], labels[:64], validation_data=(rest[64:], labels[64:]), epochs=1, verbose=0
    )
    # Slices are arrays: what Keras looks at of them is noted no more.
    assert transcript(run) == (64, COUNT - 64, 0, 64)
    assert transcript(run, 1) == (COUNT - 64, 64, 0, COUNT - 64)


def test_dataset_of_batches(images, labels, pixels):
    run = Run("bright")
    fed = run.use(Batches(images, labels, workers=2), pixels)
    assert isinstance(fed, keras.utils.PyDataset)
    network().fit(fed, epochs=2, verbose=0)
    seen, unseen, foreign, given = transcript(run)
    assert (seen, unseen, foreign) == (COUNT, 0, 0)
    assert given >= 2 * COUNT  # Keras looks at batches to learn their shapes


def test_loader(images, labels, pixels):
    run = Run("bright")
    data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    network().fit(run.use(DataLoader(data, batch_size=16), pixels), epochs=2, verbose=0)
    seen, unseen, foreign, given = transcript(run)
    assert (seen, unseen, foreign) == (COUNT, 0, 0)
    assert given >= 2 * COUNT


def tower():
    given = keras.Input((3,))
    return keras.Model(given, keras.layers.Dense(2, name="fc")(given))


def test_weights_with_the_same_path(tmp_path):
    given = keras.Input((3,))
    sum_of_both = keras.layers.add([tower()(given), tower()(given)])
    model = keras.Model(given, keras.layers.Dense(1, name="fc")(sum_of_both))
    save_weights(model, tmp_path / "w.safetensors")
    stored = load_file(tmp_path / "w.safetensors")
    assert len(stored) == len(model.weights) == 6
    for at, name in enumerate(("fc/kernel", "fc/kernel#1", "fc/kernel#2")):
        assert np.array_equal(stored[name], model.get_weights()[2 * at])


def test_weights_that_cannot_be_written(tmp_path):
    with pytest.raises(SourceError, match=f"{tmp_path}/no/w: cannot be written"):
        save_weights(tower(), tmp_path / "no" / "w")


def test_last_callback_records_restored_weights(images, labels, pixels, tmp_path):
    run, model = Run("bright"), network()
    first = keras.callbacks.EarlyStopping("loss", mode="max", restore_best_weights=True)
    last = RunCallback(run, tmp_path / "w.safetensors")
    model.fit(
        run.use(images, pixels), labels, epochs=3, shuffle=False, verbose=0, callbacks=[first, last]
    )
    assert first.best_epoch == 0
    stored = sorted(load_file(tmp_path / "w.safetensors").values(), key=np.size)
    expected = sorted(model.get_weights(), key=np.size)
    assert all(np.array_equal(*pair) for pair in zip(stored, expected, strict=True))


def test_optimizer_inside_a_loss_scale_optimizer(images, labels, tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    run = Run("bright")
    callback = RunCallback(run, tmp_path / "w.safetensors")
    model.fit(images, labels, epochs=1, verbose=0, callbacks=[callback])
    assert type(model.optimizer).__name__ == "LossScaleOptimizer"
    found = run.facts().as_object()["parameters"]["optimizer"]
    assert found["name"] == model.optimizer.inner_optimizer.name
    assert found["learning_rate"] == pytest.approx(0.001)
