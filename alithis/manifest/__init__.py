"""Manifests: leaves, trees, proofs, metadata; written, read, audited, compared.

`alithis.readers` gives the digests that `builder` sorts and writes. `alithis.storage` carries
manifests, `alithis.chain` commits to their roots, and `alithis.verify` checks proofs from `reader`.
"""
