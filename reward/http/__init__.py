"""Calls to servers that the operator allows."""
