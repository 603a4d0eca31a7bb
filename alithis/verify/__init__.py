"""Checks a target against a commitment, with a verdict."""
