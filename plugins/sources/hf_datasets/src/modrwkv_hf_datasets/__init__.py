"""Hugging Face datasets as a source of ModRWKV: local files, the Hub, and Parquet files anywhere."""
