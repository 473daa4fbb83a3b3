"""How often the advisor's guarantees hold, on rows drawn again and again from a known source."""
