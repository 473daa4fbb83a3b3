"""The report of a run: its pages, and the tables, pictures and sentences on them."""
