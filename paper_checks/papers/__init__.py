"""The claims of the papers, one module a family; paper_checks/catalogue.py lists them."""
