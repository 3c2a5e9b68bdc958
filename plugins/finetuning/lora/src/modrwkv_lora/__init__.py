"""Low-rank adaptation (LoRA) as a fine-tuning method of ModRWKV."""
