"""The command `pocketrnn import-vocab`."""

from __future__ import annotations

from pathlib import Path

import click

from pocketrnn.commands.grouped_help_and_shared_options import Command
from pocketrnn.commands.standard_streams import print_line
from pocketrnn_export.commands.printed_stages import print_stages

_FIRST = 10


@click.command("import-vocab", cls=Command, short_help="Show a vocabulary, or write it as JSON.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
              help="The JSON file to write. Without it, or with -, the vocabulary is only described.")  # fmt: skip
@click.option("--rows", type=click.IntRange(min=1), metavar="N",
              help="The numbers of the words are ids of an embedding of N rows. A dict may have gaps; words without "
              "a row are left out.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a file at OUTPUT.")
def import_vocab(source: Path, output: Path | None, rows: int | None, force: bool) -> None:
    """Read the vocabulary in SOURCE, describe it, and write it as JSON.

    SOURCE is a text file with one token in each line; a JSON list of tokens, or of pairs of a token and an id or a
    falling count; a JSON object from token to id or from id to token, or one that holds such an object as word2idx,
    stoi or itos; a Keras tokenizer as JSON; or a torchtext Vocab, a list or a dict that torch.save or pickle.dump
    wrote. torchtext is not needed, and nothing in the file is run.

    OUTPUT becomes {"default_index": 0, "tokens": ["<unk>", ...]}, where default_index is the id of unknown words, or
    null to drop them. `pocketrnn export --vocabulary` takes SOURCE and OUTPUT alike.

    \b
    Examples:
      pocketrnn import-vocab vocab.pth
      pocketrnn import-vocab vocab.pth -o vocab.json
      pocketrnn import-vocab word2idx.json --rows 5000 -o vocab.json
    """
    from pocketrnn_export.vocabularies.ids_or_counts import IdEvidence
    from pocketrnn_export.vocabularies.vocabulary import leave_out_words_without_rows, read_vocabulary, write_vocabulary

    with print_stages():
        evidence = IdEvidence() if rows is None else IdEvidence(lambda: rows, are_trusted=True)
        vocabulary = read_vocabulary(source, evidence)
        vocabulary = vocabulary if rows is None else leave_out_words_without_rows(vocabulary, rows, str(source))
    tokens, default = vocabulary.tokens, vocabulary.default_index
    print_line(f"{source}: {len(tokens):,} tokens")
    more = ", ..." if len(tokens) > _FIRST else ""
    print_line(f"First: {', '.join(ascii(token[:30]) for token in tokens[:_FIRST])}{more}")
    if default is None:
        print_line("Unknown words are dropped: there is no default index.")
    elif 0 <= default < len(tokens):
        print_line(f"Unknown words become {tokens[default][:30]!a}: the default index is {default}.")
    else:
        print_line(f"Unknown words get the default index {default}, but no token has this id.")
    if output is not None and str(output) != "-":
        write_vocabulary(vocabulary, output, force=force)
        print_line(f"Wrote {output}.")
