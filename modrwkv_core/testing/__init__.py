"""Contract tests for plugin authors: inherit a class, name the component, list configurations."""
