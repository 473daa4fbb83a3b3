"""How claims are decided: the rule of one look at the data, of several looks, of many claims at once, and its power."""
