"""Classifiers of sequences of numbers: exported as those of texts are, and proven on numbers that are drawn for it.

A module that takes numbers is given ids in their place, and a table of drawn rows of numbers that they are looked up in
(`sample_table`, `sample_lookup`). So it is called, traced, checked and proven by the code that exports classifiers of
texts. Then the table is cut off its graph (`sample_table_removal`), whose input is numbers from there on.
"""
