"""The encoder ``features``: ready-made feature frames, by a linear map or strided convolutions."""
