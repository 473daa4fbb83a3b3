"""The noise sweep audits itself: its plan, the rules that judge it, and its rows, worked out anew in plain code."""
