"""Ablations: the same run with one setting after another, over seeds (METHOD.md section 9)."""
