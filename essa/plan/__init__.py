"""Predict the cost of a run: time, memory, bytes exchanged, and scaling over devices."""
