"""The rewards, in modules named like those of their specifications in `reward.spec`."""
