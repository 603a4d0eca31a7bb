"""`ape run deploy`, which is `ape alithis deploy`."""

from alithis_ape.deploy import deploy_command as cli

__all__ = ["cli"]
