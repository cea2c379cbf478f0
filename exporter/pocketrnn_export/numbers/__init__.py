"""Export classifiers of sequences of numbers with the code for texts, and prove them on random numbers.

A module that takes numbers gets ids in place of the numbers, and looks the ids up in a table of random rows of numbers
(`table_of_proof_samples.py`). So the code for classifiers of texts can call, trace, check and prove it. Then the table
is removed from the graph, and the graph's input is numbers again.
"""
