"""The statements of a user's Python file or notebook that a module needs, found without running it."""
