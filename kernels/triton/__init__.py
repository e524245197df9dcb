"""The Triton kernels, one operation a file; each runs on CUDA and HIP devices and in Triton's interpreter.

Kernels compute in float32 or on float16, and touch bfloat16 only to load, store or multiply matrices:
the interpreter computes garbage in bfloat16, silently.
"""
