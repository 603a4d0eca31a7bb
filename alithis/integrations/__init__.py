"""Adapters for the frameworks that models are trained with, each optional."""
