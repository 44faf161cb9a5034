"""Exports of a finished run: adapter, merged model, quantised base, each with a model card."""
