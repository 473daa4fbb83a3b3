"""Shapes and types that stand in annotations are checked while the tests run."""

from beartype import BeartypeConf, beartype

# Whole numbers pass where a float is asked for, as Python's own typing rules have it.
typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
