"""Faults planted on purpose, in training and in rows: is each one told, and nothing else?"""
