"""The adapter a search starts from: training pairs, selection of samples, LoRA training."""
