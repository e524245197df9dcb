"""The operations of a gpt-oss model, one a file, each as a plain function that picks what computes it.

Importing this package loads no torch; its modules do, and Triton and numba only where they compute.
"""
