"""Send the progress of a job to where people watch their other runs: W&B, MLflow, TensorBoard."""
