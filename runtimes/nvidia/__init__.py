"""NVIDIA's libraries below any engine: CUDA's runtime, and finding and reading shared libraries."""
