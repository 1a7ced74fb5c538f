"""Run after run in one process, as in a notebook or a service: does it keep anything that it should let go?"""
