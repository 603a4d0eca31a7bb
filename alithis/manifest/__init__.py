"""Manifests: their leaves, trees, proofs and metadata are written, read, audited and compared.

`alithis.readers` yields the digests that `builder` sorts and writes. `alithis.storage` transfers
manifests, `alithis.chain` commits to their roots, and `alithis.verify` checks proofs from `reader`.
"""
