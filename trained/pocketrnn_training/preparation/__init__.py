"""From labelled rows to what an epoch needs."""
