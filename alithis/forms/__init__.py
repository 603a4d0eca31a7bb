"""Canonical forms: a data point becomes the bytes that are hashed, and those a digest.

`alithis.readers` gives the data points; `alithis.manifest` takes their digests.
"""
