// Package modeltest runs random operations on a file system through the public API,
// and on a plain model of a file system in memory beside it, and compares what both
// say. In runs as root the kernel's driver executes the same operations on an image of its own.
//
// A run is given by its seed, block size and carrier:
//
//	go test ./internal/modeltest -run Model -ops 100000 -seed 1 -blocksize 1024 -carrier bh
//
// -device puts the image on memory of huge pages: a tmpfs that has them, or huge pages of
// which none can be mapped in part; then files, offsets and lengths are about multiples of 2 MiB,
// and the kernel is asked what it has mapped. That needs root.
//
// A failing run prints the operations that led to it, shortened by leaving out
// those that do not matter, in a form that can be added to the regression tests.
//
// The package has tests only.
package modeltest
