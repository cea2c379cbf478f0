"""Split texts into tokens, and learn from the tokens: vocabulary, pieces, word vectors, spelling, the linear part."""
