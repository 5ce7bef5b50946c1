"""A compiled module on many machines: Ray, Dask, Spark, Beam and KServe. Each file needs its own package alone."""
