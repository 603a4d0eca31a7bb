"""Helpers for all other packages: files, HTTP, untrusted JSON, text, progress.

This is the lowest package: of Alithis, it imports the exceptions only.
"""
