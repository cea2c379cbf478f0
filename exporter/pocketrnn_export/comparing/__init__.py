"""Compare answers: the cases, how far two forms differ, and how far rounding may move an answer."""
