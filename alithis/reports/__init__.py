"""What is known of a model's data, written for people and for other tools."""
