"""Methods that run jobs, one for each `method.type`."""
