"""Observability for operators: log, request and job ids, and metrics."""
