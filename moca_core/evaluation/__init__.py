"""Metrics, dataset layouts and baselines."""
