"""What a model was made from and with: runs, weights, transcripts."""
