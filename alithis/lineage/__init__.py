"""Where an artifact came from and what became of it, drawn."""
