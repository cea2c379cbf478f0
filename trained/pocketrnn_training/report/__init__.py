"""Write the report of a run, and its curves."""
