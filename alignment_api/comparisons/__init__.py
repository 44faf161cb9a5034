"""Compare several methods on one task: over REST, and in a folder for the command line."""
