"""The modules that people bring, from Python and from files; and how each is called, found out by calling it."""
