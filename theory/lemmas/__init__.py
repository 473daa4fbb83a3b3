"""The proofs' steps: laws of pairs, of graphs on the sphere, of rows and of tokens, which several theorems share."""
