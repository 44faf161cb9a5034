"""What a run costs before it runs: time, memory, bytes exchanged, and how it scales."""
