"""Send a job's progress to trackers: W&B, MLflow, TensorBoard."""
