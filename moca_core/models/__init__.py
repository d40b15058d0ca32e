"""Encoders, their weights, and the bundles that group them."""
