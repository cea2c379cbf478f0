"""Read what turns a user's texts into ids (vocabularies, subword tokenizers, text rules, pipelines), and labels."""
