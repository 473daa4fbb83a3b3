"""What the formulas stand on: checked arguments, tolerances, quadrature, searches, whole files."""
