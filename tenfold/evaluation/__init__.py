"""What is measured: task metrics by generation, response loss, retention, cost, and how sure we are."""
