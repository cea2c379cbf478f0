"""A bundle on disk: classifier.json, the packed file, folders written whole; where it is; which texts it takes."""
