"""What a module sees while it is traced."""
