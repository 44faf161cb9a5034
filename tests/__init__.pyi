# For the type checker alone: textstat installs a package `tests`, which would hide this folder.
