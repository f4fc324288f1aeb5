//go:build !race

package ext

const raceEnabled = false
