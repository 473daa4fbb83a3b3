"""What the sweeps measure: the noise sweep's cells, controls, audit and report; the subspace model of the floors."""
