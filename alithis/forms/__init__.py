"""Canonical forms, and the digests of data points in them."""
