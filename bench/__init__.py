"""Speed and memory beside other programs, measured on the same rows in the same run: `python -m bench`."""
