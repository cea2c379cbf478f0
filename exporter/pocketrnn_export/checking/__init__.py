"""Check whether an exported file answers as its module does. The file may come from any exporter."""
