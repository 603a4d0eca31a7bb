"""Adapters for training frameworks and Ray, each an optional extra.

They record what a framework knows: settings, metrics and weights. The training data is recorded by
`Run.use`, with every framework.
"""
