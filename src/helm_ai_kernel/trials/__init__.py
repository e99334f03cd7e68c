"""What uses the product from outside: the demo and the benchmarks."""
