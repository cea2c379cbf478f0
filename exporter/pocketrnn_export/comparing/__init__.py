"""Compare answers: choose inputs, measure how far two forms differ, and how far rounding may move an answer."""
