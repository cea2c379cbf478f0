"""How texts are cut and what their words bring: vocabulary, pieces, word vectors, spelling, the linear part."""
