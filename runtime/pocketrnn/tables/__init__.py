"""Files of rows: CSV, TSV, JSON Lines and Parquet, checked, read and written."""
