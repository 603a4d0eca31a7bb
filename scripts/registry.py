"""`ape run registry …`, which is `ape alithis registry …`."""

from alithis_ape.registry import cli

__all__ = ["cli"]
