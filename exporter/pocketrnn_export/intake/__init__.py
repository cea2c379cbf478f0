"""Prepare the modules of users, from Python and from files, and find out how to call each."""
