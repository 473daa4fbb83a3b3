"""One file a theorem: what is drawn, measured and judged, and what an adversary maximises. Proofs: theory/theory.md."""
