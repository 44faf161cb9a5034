"""What runs a job of each method."""
