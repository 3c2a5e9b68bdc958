"""The logger ``mlflow``: metrics of runs in MLflow."""
