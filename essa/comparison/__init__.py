"""What runs of several methods on one task say beside each other, from their events alone."""
