"""Hostile input: any bytes given to a reader end in a result or in an error that says what is wrong."""
