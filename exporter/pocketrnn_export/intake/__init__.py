"""Prepare users' modules for the export, from Python and from files, and find out how to call each module."""
