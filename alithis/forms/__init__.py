"""Canonical forms: how a data point becomes bytes, and the bytes a digest.

`alithis.readers` yields the data points; `alithis.manifest` stores their digests.
"""
