"""Alithis: proofs of where a machine-learning model's data came from.

`alithis.model.Run` records a training run; the other modules are the steps between a data point
and a proof (README.md names them).
"""
