"""The gradient baseline: GRPO by TRL, on rollouts of the same engines."""
