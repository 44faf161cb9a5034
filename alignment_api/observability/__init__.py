"""What an operator sees of the service: its log, the ids in it, and its metrics."""
