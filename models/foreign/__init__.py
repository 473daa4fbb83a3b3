"""What is not the toolkit's own: encoders that a user names."""
