"""What a model rests on, for people and for other standards."""
