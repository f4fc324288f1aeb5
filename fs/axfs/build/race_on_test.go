//go:build race

package build

// underRace: the race detector makes compression many times slower.
const underRace = true
