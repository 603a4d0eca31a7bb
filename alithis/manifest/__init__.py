"""Manifests: leaves, trees, proofs, metadata; written, read, audited, compared."""
