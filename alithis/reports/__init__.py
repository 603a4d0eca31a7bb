"""What a model was made from, for people and for other tools."""
