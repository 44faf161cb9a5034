"""The checks of `essa doctor`. Each imports what it needs itself, as any library may be missing."""
