"""Asking a trained run: sessions, sampling, forecasting."""
