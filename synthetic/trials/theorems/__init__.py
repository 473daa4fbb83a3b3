"""One file a theorem: what is drawn, measured and judged, and what an adversary maximizes. Proofs: theory/theory.md."""
