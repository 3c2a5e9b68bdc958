"""For plugin authors: a new distribution from templates, and the whole contract on one screen."""
