"""What a person sees in a terminal: progress, previews and result tables, at 80 columns."""
