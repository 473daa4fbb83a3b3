"""What frozen features and heads are measured by."""
