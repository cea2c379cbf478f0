"""Read and write bundles and packed files on disk, and check which texts a bundle accepts."""
