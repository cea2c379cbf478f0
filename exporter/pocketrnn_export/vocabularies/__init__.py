"""Read the files and objects that turn a user's texts into ids: vocabularies, tokenizers, text rules. Read labels,
too."""
