"""The thresholds of the decision, moved while the masks follow."""
