"""Videos for ModRWKV: the modality ``video`` and the encoder ``video_frames``."""
