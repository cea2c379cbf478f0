"""A file that a forward of the tests imports when it runs."""


def is_special(n):
    return isinstance(n, int) and n == 23
