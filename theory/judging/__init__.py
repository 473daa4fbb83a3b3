"""What is claimed and what was found: the statements' table, verdicts, rates of failure, exact replays."""
