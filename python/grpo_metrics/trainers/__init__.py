"""One module a trainer, each a few lines for its user: docs/TRAINERS.md tells them.

None is imported before it is asked for, and none imports its trainer before it has to.
"""
