"""Runs of all techniques killed at random moments: does what is finished later equal what was never disturbed?"""
