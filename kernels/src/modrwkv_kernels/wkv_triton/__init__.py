"""WKV-7 in Triton: the chunked form of :mod:`modrwkv_kernels.chunked`, a kernel for each of its parts."""
