"""The proof of two claims: a program answers as its module does for all sizes, and every form of the program does so
for all cases."""
