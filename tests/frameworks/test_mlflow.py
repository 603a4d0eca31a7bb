"""MLflow, with a store of its own on this machine."""

import json

import mlflow
import pytest
from conftest import COUNT

from alithis.errors import SourceError, StorageError
from alithis.integrations import mlflow as adapter
from alithis.manifest.metadata import Description
from alithis.manifest.transcript import Input, stated_inputs
from alithis.training.model import ModelFacts, build_model


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """The address of a store in SQLite."""
    folder = tmp_path_factory.mktemp("mlflow")
    address = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(address)
    mlflow.create_experiment("alithis", artifact_location=str(folder / "artifacts"))
    mlflow.set_experiment("alithis")
    return address


@pytest.fixture(scope="module")
def finished(uri, images, pixels, tmp_path_factory):
    """A run that ended."""
    file = tmp_path_factory.mktemp("weights") / "weights.bin"
    file.write_bytes(b"weights")
    with mlflow.start_run() as run:
        mlflow.log_params({"rate": 0.5, "epochs": 3, "shuffle": True, "kind": "1e", "none": None})
        mlflow.log_metrics({"loss": 0.5, "worst": float("inf")})
        mlflow.log_metric("loss", 0.25, step=2)
        mlflow.log_input(mlflow.data.from_numpy(images, name="pictures"), context="training")
        mlflow.log_artifact(str(file))
        mlflow.log_dict({"a": 1}, "more/settings.json")
    adapter.log_input(run.info.run_id, pixels, uri=uri)
    return run.info.run_id


def test_what_is_read(finished, uri, pixels):
    facts = adapter.facts(finished, uri=uri)
    others = facts.parameters["mlflow.inputs"]
    assert facts.parameters == {
        "rate": 0.5,
        "epochs": 3,
        "shuffle": True,
        "kind": "1e",
        "none": None,
        "mlflow.inputs": others,
    }
    assert [(each["name"], each["context"]) for each in others] == [("pictures", "training")]
    assert facts.metrics["loss"] == 0.25
    assert facts.metrics["worst"] != float("inf")
    assert facts.complete
    assert facts.seconds >= 0
    (given,) = facts.inputs
    assert (given.relation, given.name) == ("trained_on", "pixels")
    assert given.metadata == pixels.metadata.digest
    facts.as_object()


def test_there_and_back(finished, uri, tmp_path, pixels):
    paths = adapter.artifacts(finished, tmp_path / "files", uri=uri)
    assert (tmp_path / "files" / "weights.bin").read_bytes() == b"weights"
    manifest = build_model(
        [tmp_path / "files"],
        tmp_path / "model",
        description=Description("imported"),
        facts=adapter.facts(finished, uri=uri),
    )
    assert {path.name for path in paths} == {"weights.bin", "more"}
    assert manifest.metadata.items == 2
    assert stated_inputs(manifest.metadata)[0].metadata == pixels.metadata.digest

    adapter.log_model(finished, manifest, uri=uri)
    tags = mlflow.get_run(finished).data.tags
    assert tags[adapter.METADATA] == manifest.metadata.digest.hex()
    assert tags["alithis.root"] == manifest.metadata.root.hex()
    assert tags["alithis.uri"] == f"ipfs://f01551220{manifest.metadata.digest.hex()}"


def test_our_dataset_as_mlflow_shows_it(finished, pixels):
    (ours,) = [
        each.dataset
        for each in mlflow.get_run(finished).inputs.dataset_inputs
        if each.dataset.source_type == "alithis"
    ]
    assert ours.name == "pixels"
    assert pixels.metadata.digest.hex().startswith(ours.digest)
    assert json.loads(ours.source)["root"] == pixels.metadata.root.hex()
    assert json.loads(ours.profile)["num_rows"] == COUNT


def test_a_run_that_failed_is_not_complete(uri):
    def fail():
        with mlflow.start_run():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    failed = mlflow.last_active_run().info.run_id
    assert not adapter.facts(failed, uri=uri).complete


def test_a_run_without_artifacts(uri, tmp_path):
    with mlflow.start_run() as run:
        pass
    with pytest.raises(SourceError, match="no artefacts"):
        adapter.artifacts(run.info.run_id, tmp_path, uri=uri)


@pytest.mark.parametrize("use", [adapter.facts, lambda run, uri: adapter.log_model(run, None)])
def test_no_such_run(uri, use, pixels):
    with pytest.raises(StorageError, match="MLflow's run 0000: Run with id=0000 not found"):
        use("0000", uri=uri) if use is adapter.facts else adapter.log_input("0000", pixels, uri=uri)


def test_the_inputs_of_a_model_become_its_runs(uri, tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"weights")
    given = [Input("fine_tuned_from", "parent", bytes(32)), Input("tested_on", "t", b"1" * 32)]
    manifest = build_model(
        [file], tmp_path / "model", description=Description("m"), facts=ModelFacts(inputs=given)
    )
    with mlflow.start_run() as run:
        pass
    for _ in range(2):
        adapter.log_model(run.info.run_id, manifest, uri=uri)
    found = adapter.facts(run.info.run_id, uri=uri)
    assert sorted(found.inputs, key=str) == sorted(given, key=str)
    assert "mlflow.inputs" not in found.parameters


def test_two_models_in_folders(uri, tmp_path):
    with mlflow.start_run() as run:
        for name in ("one", "other"):
            mlflow.log_dict({"name": name}, f"{name}/MLmodel")
    files = tmp_path / "files"
    paths = adapter.artifacts(run.info.run_id, files, uri=uri)
    assert {path.name for path in paths} == {"one", "other"}
    manifest = build_model([files], tmp_path / "model", description=Description("m"))
    assert manifest.metadata.items == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, text) for text in ("0012345", "1234e05", "1_000", "0.10", "-0", " 1", "nan")),
        *(("12345", 12345), ("-7", -7), ("1e-05", 1e-05), ("0.1", 0.1), ("-2.0", -2.0)),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_parameters_that_look_like_numbers(uri, text, value):
    with mlflow.start_run() as run:
        mlflow.log_param("value", text)
    found = adapter.facts(run.info.run_id, uri=uri).parameters["value"]
    assert (found, type(found)) == (value, type(value))
