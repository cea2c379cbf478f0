"""What a user's Python file or notebook says, read without running it: which statements a module needs."""
