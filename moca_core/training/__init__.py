"""Learning without masks: data, pairs, and the trainer (METHOD.md sections 3 to 6)."""
