"""Reward models: classifiers that score answers, each in a process of its own."""
