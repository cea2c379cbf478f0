"""The proof that a program answers as its module does for all sizes, and that every form of the program does so for all
cases."""
