"""Results written in the formats that other tools read."""
