"""The rewards, in modules as their specifications are in `reward.spec`."""
