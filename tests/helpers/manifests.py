"""Manifests as `alithis manifest` and a recorded run make them."""

from __future__ import annotations

import numpy as np

from alithis import readers
from alithis.forms.pool import Pool
from alithis.manifest import metadata
from alithis.manifest import reader as manifests
from alithis.manifest.builder import build
from alithis.manifest.transcript import Input
from alithis.training import model


def write(out, rows):
    source = readers.arrays(np.arange(rows * 4, dtype="uint8").reshape(rows, 4), name="rows")
    description = metadata.Description(out.stem)
    with Pool(1) as pool:
        build(source.digested(pool), out, description=description, form=source.form)
    return out


def write_model(out, *datasets):
    weights = out.with_suffix(".bin")
    weights.write_bytes(b"weights of " + out.name.encode())
    inputs = [
        Input("trained_on", opened.metadata.name, opened.metadata.digest)
        for opened in map(manifests.Manifest.open, datasets)
    ]
    description = metadata.Description(out.stem)
    model.build_model(
        [weights], out, description=description, facts=model.ModelFacts(inputs=inputs)
    )
    return out
