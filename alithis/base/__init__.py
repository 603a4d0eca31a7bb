"""Helpers that every other package uses: files, HTTP, untrusted JSON, text, progress.

The lowest package: it imports nothing of Alithis but the exceptions.
"""
