"""Baselines on the same engines: GRPO by TRL, and the best of N answers of the warm start."""
