"""Readers that modalities and sources share: media files, tables of measurements, dates."""
