//go:build !race

package xarray

// raceEnabled is set when the race detector makes everything ten times slower.
const raceEnabled = false
