//go:build race

package famfs

// raceEnabled: the race detector makes copies many times slower.
const raceEnabled = true
