"""The operations of a gpt-oss model, one a file, each as a plain torch function.

Importing this package loads no torch; its modules do: `harmony.kernels.attention`, `moe`, `mxfp4`,
`rms_norm`, `rope` and `swiglu`.
"""
