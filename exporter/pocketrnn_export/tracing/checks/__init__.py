"""Comparisons of a traced program with its module: at every size, beside other texts, with other words."""
