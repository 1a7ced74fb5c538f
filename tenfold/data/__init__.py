"""Which data goes in: rows → examples → tokens with a loss mask → packed batches → update windows."""
