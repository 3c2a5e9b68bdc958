"""ModRWKV: any signal becomes tokens of one linear-time language model."""
