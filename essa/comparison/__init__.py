"""Compare runs of several methods on one task, from their events alone."""
