"""The classifiers that ship with pocketrnn: data only, one folder each."""
