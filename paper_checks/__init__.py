"""Checks of the papers' claims, one claim a check. No claim has a check yet."""
