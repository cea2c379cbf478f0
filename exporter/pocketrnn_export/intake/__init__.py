"""What people bring: modules, files of modules and weights, vocabularies."""
