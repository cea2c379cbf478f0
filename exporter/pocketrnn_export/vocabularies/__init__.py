"""Read the files and objects that turn a user's texts into ids (vocabularies, subword tokenizers, text rules,
pipelines), and labels."""
