"""AdamW with 8-bit state as an optimizer of ModRWKV."""
