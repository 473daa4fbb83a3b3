"""The methods: what each makes of a batch, in one process or several, whole or in chunks."""
