"""`ape run mint_model`, which is `ape alithis mint-model`."""

from alithis_ape.minting import mint_model as cli

__all__ = ["cli"]
