"""One module per reward type."""
