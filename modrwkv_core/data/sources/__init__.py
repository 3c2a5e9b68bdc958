"""Sources of the core: common file formats to records."""
