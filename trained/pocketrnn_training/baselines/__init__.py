"""Train simple models on the same rows. Their accuracy shows whether a recurrent classifier is worth its cost."""
