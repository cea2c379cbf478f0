"""From a module to the program that answers as it does for all sizes; `right_program` begins it."""
