//go:build !race

package famfs

const raceEnabled = false
