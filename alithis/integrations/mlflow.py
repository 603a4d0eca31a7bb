"""MLflow: build a model's manifest from a finished run, and log our digests in that run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.base.text import first_line
from alithis.errors import SourceError, StorageError
from alithis.integrations.common import require
from alithis.ipfs.cid import Cid
from alithis.manifest.transcript import RELATIONS, Input, stated_inputs
from alithis.training.model import ModelFacts, json_or_text

if TYPE_CHECKING:
    from alithis.manifest.reader import Manifest

METADATA = "alithis.manifest.metadata"
"""The tag of a run or dataset input that contains the SHA-256 of a metadata.json."""

_CONTEXT = "mlflow.data.context"
_CONTEXTS = {
    "train": "trained_on",
    "training": "trained_on",
    "validation": "validated_on",
    "eval": "validated_on",
    "evaluation": "validated_on",
    "test": "tested_on",
    "testing": "tested_on",
}
_DIGEST = 36  # characters of a dataset's digest that MLflow keeps


def facts(run_id: str, *, uri: str | None = None) -> ModelFacts:
    """Read what MLflow recorded about a run.

    Parameters are kept, and of each metric the last value. A dataset input whose tag `METADATA`
    names a manifest (`log_input` sets it) becomes an input of the model. The others are listed as
    the parameter ``mlflow.inputs``, with MLflow's digests.

    Args:
        run_id: the run's id.
        uri: the tracking store; by default the one that MLflow is configured with.

    Raises:
        MissingExtraError: MLflow is not installed.
        StorageError: there is no such run, or the store does not answer.
    """
    run = _run(_client(uri), run_id)
    tags = run.data.tags
    ours, others = _inputs(run)
    parameters: dict[str, Any] = {name: _value(text) for name, text in run.data.params.items()}
    if others:
        parameters["mlflow.inputs"] = others
    metrics = json_or_text(run.data.metrics)
    code = {
        "repository": tags.get("mlflow.source.git.repoURL"),
        "commit": tags.get("mlflow.source.git.commit"),
    }
    ends = run.info.start_time, run.info.end_time
    return ModelFacts(
        parameters=parameters,
        metrics=metrics,
        inputs=ours,
        environment={"mlflow": _version()},
        complete=run.info.status == "FINISHED",
        code={name: value for name, value in code.items() if value},
        seconds=round((ends[1] - ends[0]) / 1000, 1) if all(ends) else None,
    )


def artifacts(run_id: str, folder: Path, *, uri: str | None = None) -> list[Path]:
    """Download a run's artifacts; nothing is unpickled.

    Build the model's manifest from the whole folder, so that files keep their paths in MLflow: if
    there are two models, each has a file ``MLmodel`` in its folder.

    Args:
        run_id: the run's id.
        folder: where to put them; it should contain nothing else.
        uri: the tracking store; by default the one that MLflow is configured with.

    Returns:
        The files and folders at the top level.

    Raises:
        MissingExtraError: MLflow is not installed.
        SourceError: the run has no artifacts.
        StorageError: there is no such run, or they cannot be downloaded.
    """
    client = _client(uri)
    _run(client, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        names = [each.path for each in client.list_artifacts(run_id)]
        paths = [Path(client.download_artifacts(run_id, name, str(folder))) for name in names]
    except Exception as error:  # each kind of store raises its library's errors
        raise StorageError(
            f"run {run_id}: artifacts cannot be downloaded: {first_line(error)}"
        ) from error
    if not paths:
        raise SourceError(f"run {run_id}: no artifacts; log the model in this run first")
    return paths


def log_input(
    run_id: str, manifest: Manifest, relation: str = "trained_on", *, uri: str | None = None
) -> None:
    """Log a dataset's manifest as a dataset input of a run.

    Args:
        run_id: the run's id.
        manifest: the dataset's manifest.
        relation: ``trained_on``, ``validated_on`` or ``tested_on``: the input's context.
        uri: the tracking store; by default the one that MLflow is configured with.

    Raises:
        MissingExtraError: MLflow is not installed.
        StorageError: there is no such run, or the store does not answer.
    """
    client, data = _client(uri), manifest.metadata
    source = {"root": data.root.hex(), "size": data.size}
    profile = {"num_rows": data.items, "distinct": data.size, "form": data.form.name}
    given = _dataset_input(relation, data.name, data.digest, source, profile)
    _run(client, run_id)
    with _mlflow_errors(run_id):
        client.log_inputs(run_id, [given])


def log_model(run_id: str, manifest: Manifest, *, uri: str | None = None) -> None:
    """Log a model's manifest as tags of the run that made it, and its inputs as dataset inputs.

    MLflow keeps each input once per run: if a dataset has two relations, the first is kept.

    Args:
        run_id: the run's id.
        manifest: the model's manifest.
        uri: the tracking store; by default the one that MLflow is configured with.

    Raises:
        MissingExtraError: MLflow is not installed.
        StorageError: there is no such run, or the store does not answer.
        FormatError: the inputs in the manifest are malformed.
    """
    client, data = _client(uri), manifest.metadata
    inputs = [
        _dataset_input(each.relation, each.name, each.metadata) for each in stated_inputs(data)
    ]
    _run(client, run_id)
    tags = {
        METADATA: data.digest.hex(),
        "alithis.root": data.root.hex(),
        "alithis.size": str(data.size),
        "alithis.uri": _token_uri(data.digest),
    }
    with _mlflow_errors(run_id):
        for name, value in tags.items():
            client.set_tag(run_id, name, value)
        if inputs:
            client.log_inputs(run_id, inputs)


def _dataset_input(
    relation: str,
    name: str,
    metadata: bytes,
    source: Mapping[str, Any] | None = None,
    profile: Mapping[str, Any] | None = None,
) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=name,
        digest=metadata.hex()[:_DIGEST],
        source_type="alithis",
        source=json.dumps({"uri": _token_uri(metadata), **(source or {})}),
        profile=json.dumps(profile) if profile else None,
    )
    tags = [InputTag(_CONTEXT, relation), InputTag(METADATA, metadata.hex())]
    return DatasetInput(dataset, tags)


def _token_uri(digest: bytes) -> str:
    return "ipfs://" + Cid.raw(digest).base16


def _inputs(run: Any) -> tuple[list[Input], list[dict[str, str]]]:
    ours, others = list[Input](), list[dict[str, str]]()
    for given in run.inputs.dataset_inputs:
        tags = {tag.key: tag.value for tag in given.tags}
        context = tags.get(_CONTEXT, "")
        relation = _CONTEXTS.get(context.lower(), context)
        name, stated = given.dataset.name, tags.get(METADATA, "")
        if re.fullmatch("[0-9a-f]{64}", stated) and relation in RELATIONS and name.isprintable():
            ours.append(Input(relation, name, bytes.fromhex(stated)))
        else:
            others.append({"name": name, "digest": given.dataset.digest, "context": context})
    return ours, others


def _value(text: str) -> Any:
    """Convert a parameter, which MLflow stores as text, back to a number, boolean or None.

    A text is converted only if Python would print the number so: ``0012345`` and ``1234e05`` stay
    text.
    """
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for read in (int, float):
        try:
            value = read(text)
        except ValueError:
            continue
        if repr(value) == text:
            return json_or_text(value)
    return text


def _client(uri: str | None) -> Any:
    return require("mlflow", "MLflow", "mlflow").MlflowClient(tracking_uri=uri)


def _run(client: Any, run_id: str) -> Any:
    with _mlflow_errors(run_id):
        return client.get_run(run_id)


@contextmanager
def _mlflow_errors(run_id: str) -> Iterator[None]:
    """Turn MLflow's errors into one line that names the run."""
    try:
        yield
    except Exception as error:  # its stores raise the errors of databases and HTTP clients
        raise StorageError(f"MLflow's run {run_id}: {first_line(error)}") from error


def _version() -> str:
    from importlib.metadata import version

    return version("mlflow")
