"""How text becomes ids, as people have it: vocabularies, tokenizers of subwords, text rules, pipelines; and labels."""
