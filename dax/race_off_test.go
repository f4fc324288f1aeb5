//go:build !race

package dax_test

const raceEnabled = false
