"""A target and a commitment → a verdict."""
